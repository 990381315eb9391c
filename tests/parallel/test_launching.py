import os
import time
from types import SimpleNamespace

import launching
import pytest
from launching import launch

BROKEN = """
import os, pathlib, sys, time
out = pathlib.Path(sys.argv[1])
if os.environ["RANK"] == "1":
    while not (out / "pid").exists():
        time.sleep(0.01)
    sys.exit(sys.argv[2])
(out / "writing").write_text(str(os.getpid()))
(out / "writing").rename(out / "pid")
time.sleep(600)
"""


def test_a_failing_rank_is_shown_and_takes_the_others_along(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text(BROKEN)
    with pytest.raises(
        AssertionError, match=r"(?s)broken\.py: rank 1 failed with exit code 1.*no weights here"
    ):
        launch(script, 2, tmp_path, "no weights here")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_hanging_rank_is_ended(tmp_path, monkeypatch):
    script, waits = tmp_path / "hanging.py", tmp_path / "waits"
    script.write_text(
        "import time\nprint('waiting', flush=True)\n"
        f"open({str(waits)!r}, 'w').close()\ntime.sleep(3600)\n"
    )
    clock = SimpleNamespace(monotonic=lambda: 3.0 if waits.exists() else 0.0, sleep=time.sleep)
    monkeypatch.setattr(launching, "time", clock)
    with pytest.raises(AssertionError, match=r"(?s)hanging\.py: not done after 3 seconds.*waiting"):
        launch(script, 1, timeout=3)
