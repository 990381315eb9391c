"""What a script of one's own imports to read recipes: ``load(file, ["a.b=c"])``,
``override(section, ["b=c"])``."""

from red_mcore.config.loading import load
from red_mcore.config.overrides import override

__all__ = ["load", "override"]
