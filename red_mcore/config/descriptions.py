"""What the fields of a section mean: the docstrings under them, as their source has them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from itertools import pairwise


@lru_cache(maxsize=512)
def of_section(section: type) -> dict[str, str]:
    """Field -> its docstring in one line; a class that only changes a default leaves its base's.

    A class without source, made at run time, describes nothing.
    """
    found: dict[str, str] = {}
    for declares in reversed(section.__mro__[:-1]):
        found |= _own(declares)
    return found


def _own(section: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(section)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = getattr(tree.body[0], "body", [])
    found = {}
    for field, below in pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found
