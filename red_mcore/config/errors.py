"""The one error of bad input."""

from __future__ import annotations

from red_mcore.config.redaction import redacted


class RecipeError(ValueError):
    """Bad input that the user can mend; its message is one line naming the field or file, the
    numbers and the fix."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))
