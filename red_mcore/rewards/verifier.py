"""Verdicts from math-verify, in child processes that a wall clock can kill.

Symbolic comparison of what a model wrote can take for ever (``9^{9^{9}}``) or bring its process down, and no signal
reaches a thread that sits in C code. So the rank never parses an answer itself: a pool of children does, each task has
a deadline, and a child that misses it is killed and replaced. Five verdicts are told apart, because a rising share of
any of the last three is news of its own:

- ``correct``, ``wrong``: both sides parsed; math-verify's word on their equality;
- ``unparsable``: no balanced ``\\boxed{...}`` (with ``boxed_only``), or math-verify makes no expression of the answer
  or of the gold. Equal strings that are no mathematics are therefore not ``correct``;
- ``timeout``: the child was killed at ``timeout_seconds``;
- ``crash``: the child died of something else, e.g. the kernel's out-of-memory killer.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import signal
import sys
from concurrent.futures import TimeoutError
from typing import TYPE_CHECKING

from red_mcore.recipe import Reward
from red_mcore.rewards.terms import last_boxed

if TYPE_CHECKING:
    from concurrent.futures import Future

VERDICTS = ("correct", "wrong", "unparsable", "timeout", "crash")

Pair = tuple[str, str]
"""Gold, and the extracted answer (``boxed_only``) or else the whole response."""


class Verifier:
    """Grades responses in ``settings.workers`` child processes; close it, or use it as a context manager.

    The children start at once and import math-verify while the caller goes on. They import neither torch nor Megatron,
    ignore Ctrl-C (it is the rank that saves and stops), and die with their parent. The kernel ties the last to the
    *thread* that starts them, so construct the verifier in a thread that lives as long as it does.
    """

    def __init__(self, settings: Reward) -> None:
        self.settings = settings
        self._known: dict[Pair, str] = {}
        self._start()

    def grade(self, pairs: list[Pair]) -> list[str]:
        """One of ``VERDICTS`` for each (gold, response text), in order.

        With ``boxed_only`` the verdict depends only on gold and boxed answer: equal pairs are judged once per run.
        Timeouts and crashes are judged anew in each call, since load on the machine may have caused them.
        Raises RuntimeError where the children cannot be kept alive, e.g. where math-verify is not installed.
        """
        if self.settings.boxed_only:
            boxed = [(gold, last_boxed(text)) for gold, text in pairs]
            asked = [(gold, answer) if answer is not None else None for gold, answer in boxed]
        else:
            asked = list(pairs)
        new = [pair for pair in dict.fromkeys(asked) if pair is not None and pair not in self._known]
        verdicts = self._known | dict(zip(new, self._judge(new), strict=True))
        if self.settings.boxed_only:  # whole responses are long and seldom come twice
            self._known |= {pair: verdicts[pair] for pair in new if verdicts[pair] not in ("timeout", "crash")}
        return [verdicts[pair] if pair is not None else "unparsable" for pair in asked]

    def close(self) -> None:
        """End the children, whatever they are doing."""
        self._pool.stop()
        self._pool.join()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        from pebble import ProcessPool

        # Not fork: the rank holds threads and device contexts that a forked child must not touch.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(max_workers=self.settings.workers, initializer=_prepare_child, context=context)
        self._pool.active  # reading it is what starts a pebble pool  # noqa: B018

    def _judge(self, pairs: list[Pair]) -> list[str]:
        """Verdicts of distinct pairs. A pool that broke (all children killed while idle) is replaced, once."""
        try:
            return self._judge_once(pairs)
        except RuntimeError:
            self.close()
            self._start()
            return self._judge_once(pairs)

    def _judge_once(self, pairs: list[Pair]) -> list[str]:
        timeout, boxed = self.settings.timeout_seconds, self.settings.boxed_only
        return [_outcome(f) for f in [self._pool.schedule(_compare, (*pair, boxed), timeout=timeout) for pair in pairs]]


def _outcome(future: Future[str]) -> str:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        return "timeout"
    except ProcessExpired:
        return "crash"


def _prepare_child() -> None:
    """Runs in each child before its first task."""
    import math_verify  # noqa: F401  a second or so, which must not count against the first task's deadline

    # It warns that its own time limits are off. They are, for they do not reach into C code; the parent's clock does.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # pebble ends a child by SIGTERM and handles it in Python, which a child busy in C code never comes to.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        # An idle child sees its pipe close when the rank is killed; a busy one needs the kernel's help.
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _compare(gold: str, answer: str, boxed: bool) -> str:
    """Runs in a child. math-verify is not symmetric, hence the names; ``None`` turns off its signal-based limits."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    latex = LatexExtractionConfig(boxed_match_priority=0)

    def expressions(text: str, targets: list) -> list:
        return parse(text, targets, fallback_mode="no_fallback", parsing_timeout=None)

    gold_parsed = expressions(f"\\boxed{{{gold}}}", [latex])
    if boxed:
        answer_parsed = expressions(f"\\boxed{{{answer}}}", [latex])
    else:
        answer_parsed = expressions(answer, [latex, ExprExtractionConfig()])
    if not gold_parsed or not answer_parsed:
        return "unparsable"
    return "correct" if verify(gold=gold_parsed, target=answer_parsed, timeout_seconds=None) else "wrong"
