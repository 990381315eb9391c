import os
import subprocess
import sys
from contextlib import contextmanager

import pytest


@pytest.fixture
def busy():
    """A context in which four loops for each core do nothing as fast as they can."""

    @contextmanager
    def loops():
        running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * os.cpu_count())]
        try:
            yield
        finally:
            for loop in running:
                loop.kill()
            for loop in running:
                loop.wait()

    return loops
