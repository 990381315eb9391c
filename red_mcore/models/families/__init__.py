"""The families of models, one file each; a file that is put here is a family that is supported."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from red_mcore.models.family import Family


def found() -> dict[str, Family]:
    """The family of each file, by its ``model_type``."""
    families = {}
    for module in pkgutil.iter_modules(__path__):
        family = import_module(f"{__name__}.{module.name}").FAMILY
        families[family.model_type] = family
    return families


FAMILIES: dict[str, Family] = found()
"""The supported ones, by ``model_type``."""
