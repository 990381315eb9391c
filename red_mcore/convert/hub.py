"""An export goes to the Hugging Face hub; off unless a recipe's ``hub`` or ``tools/push.py`` asks
for it. No torch."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from red_mcore.config.recipe import Hub, RecipeError
from red_mcore.tracking.provenance import redacted


def check(name: str, field: str = "hub.name") -> None:
    """RecipeError where ``name`` is none of a hub repository, or there is no token to write
    with."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        name_is_bad = True
    else:
        name_is_bad = "/" not in name
    if name_is_bad:
        raise RecipeError(f"{field}={name} is no name of a hub repository: write owner/name")
    if get_token() is None:
        raise RecipeError(
            f"{field}={name}: there is no token to push with:"
            " run 'hf auth login', or set HF_TOKEN to a token that may write"
        )


def push(folder: Path, name: str, private: bool) -> str:
    """Upload all files of ``folder`` to the repository ``name``, made if there is none; its
    address.

    RecipeError for a folder that is no model, a missing token, and whatever the hub refuses.
    """
    from huggingface_hub import HfApi

    if not (folder / "config.json").is_file():
        raise RecipeError(f"{folder} has no config.json: name an export, as runs/NAME/export")
    check(name, "repository")
    try:
        api = HfApi()
        made = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload by red-mcore")
    except Exception as error:  # the hub, the network and the disk fail in many ways
        reason = " ".join(redacted(str(error)).split())
        raise RecipeError(
            f"{folder} cannot be pushed to {name}: {reason or type(error).__name__}"
        ) from error
    return str(made)


def push_apart(folder: Path, settings: Hub) -> str:
    """``push`` in a process of its own, for a rank may be set to ask no hub; a line that says how
    it went.

    The weights are on the disk: that they did not get further is no reason for a run to fail.
    """
    arguments = [str(folder), settings.name]
    if not settings.private:
        arguments.append("--public")
    # A rank is set to ask no hub, and huggingface_hub reads that once, when it is imported.
    environment = dict(os.environ)
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-m", "red_mcore.convert.hub", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode == 0:
        return f"pushed to {done.stdout.splitlines()[-1]}"
    reason = f"exit code {done.returncode}"
    if done.stderr:
        reason = done.stderr.splitlines()[-1]
    return (
        f"red_mcore: warning: {reason}; try again with: python tools/push.py {' '.join(arguments)}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 bad input or refused by the hub (one line on stderr)."""
    parser = argparse.ArgumentParser(
        prog="push", description="Upload an export to the hub.", allow_abbrev=False
    )
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="an export, as runs/NAME/export"
    )
    parser.add_argument("name", metavar="OWNER/NAME", help="the repository, made if there is none")
    parser.add_argument(
        "--public", action="store_true", help="a new repository is private if not given"
    )
    options = parser.parse_args(arguments)
    try:
        print(push(options.folder, options.name, private=not options.public))
    except RecipeError as error:
        print(f"push: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
