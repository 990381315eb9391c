"""``python -m red_mcore.run RECIPE [a.b=c ...]``: the same as ``red-mcore run``."""

if __name__ == "__main__":
    from red_mcore.cli import main

    main("run")
