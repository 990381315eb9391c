import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

LOOP = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
"""It ends with who started it, who may be killed."""


@pytest.fixture
def busy():
    """A context in which four loops for each core do nothing as fast as they can."""

    @contextmanager
    def loops():
        running = [
            subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(4 * os.cpu_count())
        ]
        try:
            yield
        finally:
            for loop in running:
                loop.kill()
            for loop in running:
                loop.wait()

    return loops
