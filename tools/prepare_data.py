"""``red-mcore prepare``, from a checkout."""

if __name__ == "__main__":
    from red_mcore.cli import main

    main("prepare")
