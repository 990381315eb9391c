"""What the exit codes of ranks, runs and tools mean, beside 0: done."""

FAILED = 1
"""A traceback or a line on stderr says how."""
BAD_INPUT = 2
"""What the user can mend; one line on stderr says how."""
LEFT = 3
"""A rank ends with it because another one failed, which says why."""
UNHEALTHY = 4
"""A run with ``strict=true`` that did its steps, or is not started, has warnings
(``train.health``)."""
INTERRUPTED = 130
"""A signal ended it in good order; the shell's convention for Ctrl-C."""
