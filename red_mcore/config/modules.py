"""Users' Python: the file of a recipe, and classes by import path, wherever a command is run.

A recipe file imports what stands beside it, or beside its ``recipes`` folder or its package, at
once or later, and so does what it imports: the folders stay where Python looks for modules. A class
goes by the name ``package.module:Class``, one that stands in a recipe file by
``recipes/mine.py:Class``.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from red_mcore.config.errors import RecipeError


def run_file(file: str | Path) -> ModuleType:
    """The module that a Python file makes, run anew. RecipeError with its line for whatever it
    raises."""
    path = Path(file)
    spec = importlib.util.spec_from_file_location(name_of(path), path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"recipe file {file}: want a name that ends in .py or .yaml")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    reach(folders_of(path))
    try:
        spec.loader.exec_module(module)
    except RecipeError:
        raise
    except Exception as error:  # whatever a user's Python may raise
        raise RecipeError(f"recipe file {file}{told(error, path)}") from error
    return module


def name_of(file: Path) -> str:
    """The name of the module that ``run_file`` makes: its own for every file, and none that an
    import finds."""
    return "recipe_" + re.sub(r"\W", "_", str(file.resolve()))


def told(error: Exception, file: Path) -> str:
    """`` line N: Kind: message``, with the line of ``file`` through which the error passed."""
    line = None
    if isinstance(error, SyntaxError):
        line = error.lineno
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(file):
            line = frame.lineno
    what = f": {type(error).__name__}: {error}"
    if line is None:
        return what
    return f" line {line}{what}"


def folders_of(file: Path) -> list[Path]:
    """Where a recipe file's imports are looked for: what its ``recipes`` folder or its package is
    in, and beside it."""
    own = top = file.resolve().parent
    while (top / "__init__.py").is_file():
        top = top.parent
    for above in own, *own.parents:
        if above.name == "recipes":
            top = above.parent
            break
    if top == own:
        return [own]
    return [top, own]


def reach(folders: Sequence[str | Path]) -> None:
    """Let imports be looked for in these folders, too, in this process and in those that it
    starts."""
    for folder in reversed(folders):  # each goes to the front: so the first is looked in first
        name = str(Path(folder).resolve())
        if name not in sys.path:
            sys.path.insert(0, name)


def path_of(kind: type) -> str:
    """The import path of a class."""
    if kind.__module__.startswith("recipe_"):  # perhaps as ``run_file`` names them
        file = Path(inspect.getfile(kind)).resolve()
        if kind.__module__ == name_of(file):
            return f"{file.relative_to(folders_of(file)[0])}:{kind.__qualname__}"
    return f"{kind.__module__}:{kind.__qualname__}"


def find_class(path: str, field: str) -> type:
    """The class of that import path. RecipeError, naming ``field``, where there is none."""
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise RecipeError(f"{field}: '{path}' is no import path: write package.module:Class")
    if "<locals>" in name:
        raise RecipeError(
            f"{field}: {path} is made in a function, where no other run finds it: define it outside"
        )
    found = _module(path, field)
    for part in name.split("."):
        if not hasattr(found, part):
            raise RecipeError(f"{field}: {module} has no class '{name}'")
        found = getattr(found, part)
    if not isinstance(found, type):
        raise RecipeError(f"{field}: {path} is no class")
    return found


def _module(path: str, field: str) -> object:
    module = path.partition(":")[0]
    if module.endswith(".py"):
        return _file_module(path, field)
    try:
        return importlib.import_module(module)
    except RecipeError:
        raise
    except Exception as error:  # whatever a user's Python may raise
        if isinstance(error, ModuleNotFoundError) and module.startswith(error.name or "-"):
            raise RecipeError(
                f"{field}: no module '{error.name}' for '{path}': run where it is, name its folder"
                " in imports=[...], or set PYTHONPATH"
            ) from None
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise RecipeError(
            f"{field}: {path} cannot be imported: {last.filename} line {last.lineno}:"
            f" {type(error).__name__}: {error}"
        ) from error


def _file_module(path: str, field: str) -> object:
    name = path.partition(":")[0]
    for folder in sys.path:
        file = Path(folder, name)
        if file.is_file():
            # Run anew, its classes would be others than those of the recipe that is loaded.
            return sys.modules.get(name_of(file)) or run_file(file)
    raise RecipeError(
        f"{field}: no file {name} for '{path}': run where it is, or name its folder in"
        " imports=[...]"
    )
