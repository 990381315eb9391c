"""Pages that the site has beside those of this folder: the reference, and two files of the
repository's root.

A page of the reference is a room of the package; mkdocstrings makes its text from the docstrings,
without importing anything.
"""

import ast
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "red_mcore"
TEXTS = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_files(files, config):
    """Called by mkdocs once it knows the files of the folder."""
    for page, name in TEXTS.items():
        files.append(File.generated(config, page, content=site_text((ROOT / name).read_text())))
    for room in rooms():
        files.append(File.generated(config, f"reference/{room.name}.md", content=reference(room)))
    return files


def on_config(config):
    """Called first: the rooms take the place of their folder in the navigation."""
    entries = [{room.name: f"reference/{room.name}.md"} for room in rooms()]
    config.nav[-1] = {"Reference": entries}
    return config


def rooms() -> list[Path]:
    """The folders of the package."""
    return sorted(folder for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file())


def reference(room: Path) -> str:
    """The page of a room: each of its modules that says something of itself."""
    lines = [f"# {room.name}", ""]
    for module in sorted(room.rglob("*.py")):
        if ast.get_docstring(ast.parse(module.read_text())) is None:
            continue
        name = ".".join(module.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        lines += [f"::: {name}", ""]
    return "\n".join(lines)


def site_text(text: str) -> str:
    """A file of the root as a page of this folder, with links that hold here."""
    for page, name in TEXTS.items():
        text = text.replace(f"]({name})", f"]({page})")
    return re.sub(r"\]\(docs/", "](", text)
