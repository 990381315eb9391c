"""Progress on the screen: a bar with the time left, or plain lines where the output is a file."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from threading import Event, RLock, Thread

from rich.console import Console as Screen
from rich.console import ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

LINE_SECONDS = 10.0
"""Least time between two plain lines of results, and what a phase has to last to get a line of its
own."""
SHOWN_SECONDS = 1.0
"""What a phase has to last to be shown on a terminal, where it flickers else."""
TICK_SECONDS = 1.0
"""Between two looks at whether a phase lasts."""
BAR_WIDTH = 24

Watch = Callable[[int, int], None]
"""Told how much of a task is done: (done, total)."""


def unwatched(done: int, total: int) -> None:
    """For whom nobody watches."""


class Console:
    """``with Console("RED", total=500, done=120) as c``: steps, time passed and left, a few
    metrics, and what is being done now.

    A terminal gets two lines: what must not be cut, with a bar in the room that is left; and
    metrics and phase. A file gets a line with the result of a step every ``LINE_SECONDS``, of every
    step that takes longer and of the last one, and a line of each phase that lasts, at ever longer
    intervals. ``show=False`` prints nothing: for the ranks beside the first, which run the same
    loop. ``begin``: ``time.monotonic`` at which the work began, if not now.
    """

    def __init__(
        self,
        description: str,
        total: int,
        done: int = 0,
        *,
        show: bool = True,
        begin: float | None = None,
    ) -> None:
        self._description, self._total, self._first = description, total, done
        self._step, self._metrics = done, ""
        self._begin = time.monotonic() if begin is None else begin
        self._updated = self._begin
        self._last_result, self._unsaid = float("-inf"), False
        self._phase, self._phase_begin, self._phase_due = "", self._begin, math.inf
        self._part: tuple[int, int, float] | None = None
        """(Done, of all, when)."""
        self._show = show
        # The loop, the ticker and rich's own thread look at the same numbers.
        self._lock = RLock()
        self._live: Live | None = None
        self._ended = Event()
        self._ticker: Thread | None = None
        if show and sys.stdout.isatty():
            self._live = Live(get_renderable=lambda: self, refresh_per_second=4)
        elif show:
            self._ticker = Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Console:
        if self._live is not None:
            self._live.start(refresh=True)
        if self._ticker is not None:
            self._ticker.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.phase("")
        self._ended.set()
        if self._unsaid:
            self._result()
        if self._live is not None:
            self._live.stop()
        if self._ticker is not None:
            self._ticker.join()

    def update(self, step: int, metrics: dict[str, float], total: int | None = None) -> None:
        """``step`` steps are done; ``metrics`` are shown under the names given, four digits each.

        ``total`` replaces the number of steps in all, where that only shows on the way.
        """
        with self._lock:
            self.phase("")
            self._total = total or self._total
            self._step = step
            self._metrics = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            self._updated = time.monotonic()
            self._unsaid = self._live is None
            is_due = self._updated - self._last_result >= LINE_SECONDS or step == self._total
            if self._unsaid and is_due:
                self._result()

    def _result(self) -> None:
        self._unsaid, self._last_result = False, self._updated
        self._line(self._metrics)

    def phase(self, text: str) -> None:
        """What is being done now; it is shown once it lasts."""
        with self._lock:
            self._phase, self._part = text, None
            self._phase_begin = time.monotonic()
            self._phase_due = self._phase_begin + LINE_SECONDS if text else math.inf

    def part(self, done: int, total: int) -> None:
        """How much of the phase is done."""
        with self._lock:
            self._part = done, total, time.monotonic()

    def print(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        elif self._show:
            with self._lock:
                print(text, flush=True)

    def tick(self) -> None:
        """Print a line if the phase has lasted so long: after 10 seconds, 20, 40 and so on."""
        with self._lock:
            now = time.monotonic()
            if now >= self._phase_due:
                self._phase_due = now + (now - self._phase_begin)
                self._line(self._doing(now))

    def _tick(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            try:
                self.tick()
            except (OSError, ValueError):
                return  # nobody reads any more; the loop's own next line finds out, too

    def _line(self, text: str) -> None:
        if self._show:
            done, passed, left = self._numbers(time.monotonic())
            print(_spaced(f"{self._description} {done}", passed, f"left {left}", text), flush=True)

    def _numbers(self, now: float) -> tuple[str, str, str]:
        """(steps done of all, time passed, time left)."""
        done, total = self._step - self._first, self._total - self._first
        left = _left(done, total, self._updated - self._begin, now - self._updated)
        return f"{self._step}/{self._total}", hours(now - self._begin), left

    def _doing(self, now: float) -> str:
        """The phase and how far it is; how long it has taken, where that is not known."""
        if self._part is None:
            return f"{self._phase} for {hours(now - self._phase_begin)}"
        done, total, when = self._part
        left = _left(done, total, when - self._phase_begin, now - when)
        return f"{self._phase} {done}/{total}, left {left}"

    def __rich_console__(self, screen: Screen, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            now, width = time.monotonic(), options.max_width
            done, passed, left = self._numbers(now)
            doing = ""
            if self._phase and now - self._phase_begin >= SHOWN_SECONDS:
                doing = self._doing(now)
            second = Text(_spaced(self._metrics, doing), no_wrap=True)
            numbers = f"  {done}  {passed}  left {left}"
            name = Text(self._description, no_wrap=True)
            name.truncate(max(1, width - len(numbers)), overflow="ellipsis")
            room = min(BAR_WIDTH, width - name.cell_len - len(numbers) - 2)
            first = [*screen.render(name, options.update(width=name.cell_len))][:1]
            if room >= 4:  # a shorter bar says nothing
                bar = ProgressBar(total=max(1, self._total), completed=self._step, width=room)
                line = [part for part in screen.render(bar, options) if part.text != "\n"]
                first += [Segment("  "), *line]
            yield from first
            yield Segment(numbers)
            yield Segment.line()
            if second:
                second.truncate(width, overflow="ellipsis")
                yield second


def _spaced(*parts: str) -> str:
    return "  ".join(filter(None, parts))


def hours(seconds: float) -> str:
    """``h:mm:ss``."""
    minutes, seconds = divmod(int(seconds), 60)
    whole, minutes = divmod(minutes, 60)
    return f"{whole}:{minutes:02d}:{seconds:02d}"


def _left(done: int, total: int, took: float, since: float) -> str:
    """Time left where ``done`` of ``total`` took so many seconds, ``since`` seconds ago; dashes
    before there is any."""
    if done >= total:
        return hours(0)
    if done <= 0:
        return "-:--:--"
    # At the speed so far: the one that is being done counts less the longer it lasts, the others
    # whole, and something is left until the end.
    each = took / done
    return hours(math.ceil(max(each * (total - done) - since, each * (total - done - 1), 1.0)))


class Watched:
    """``with Watched("reading tensors") as watch``: progress by ``watch(done, total)``, shown from
    its first call."""

    def __init__(self, description: str, *, show: bool = True) -> None:
        self._description, self._show = description, show
        self._begin = time.monotonic()
        self._console: Console | None = None

    def __enter__(self) -> Watched:
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._console is None:
            console = Console(self._description, total, show=self._show, begin=self._begin)
            self._console = console.__enter__()
        self._console.update(done, {})

    def __exit__(self, *exception: object) -> None:
        if self._console is not None:
            self._console.__exit__(*exception)
