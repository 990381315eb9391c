"""What few algorithms need beside the contract in ``base``: a mix-in for each, before the base
class.

An algorithm that lacks the hook of its mix-in cannot be made. The loop asks whether an algorithm
``isinstance`` of one where the hook has its place. Where a hook is called in a step:

    Stages          before everything: which algorithm makes this step
    PromptCount     before sampling
    Branching       after sampling, before refills are counted
    UpdateCount     after ``compose``
    Lessons         after the step's updates
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from red_mcore.algorithms.base import GroupAlgorithm, Groups, Metrics, State
from red_mcore.config.recipe import Algorithm
from red_mcore.samples.records import Group, Problem


class TraceInGroup:
    """A teacher's trace joins the rollouts of each group, where the problem has one."""

    traces: ClassVar[int] = 1


class JudgedTrace(TraceInGroup):
    """The verdict on the trace sets advantages.

    A trace whose verdict is missing (timeout, crash) stays out of its group for the step: it
    would be called wrong for want of time.
    """


class ImitationAlone(TraceInGroup):
    """Nothing is sampled: each group is a trace."""

    rollouts: ClassVar[bool] = False


class OnePassWeights:
    """``weigh`` sets no weights but those of traces, or 1.

    With one update per step the entropies are then measured in the update's own forward pass, in
    time for the losses of traces: ``red_mcore.megatron.one_pass`` draws how.
    """


class Stages(ABC):
    """Some steps are another algorithm's."""

    needs_traces: ClassVar[bool] = True

    @abstractmethod
    def stage(self, step: int) -> GroupAlgorithm:
        """The algorithm of step ``step``, counted from 0."""


def stage_of(algorithm: Algorithm, step: int) -> GroupAlgorithm:
    """The algorithm of step ``step``: the recipe's own, if it has no stages."""
    if isinstance(algorithm, Stages):
        return algorithm.stage(step)
    if not isinstance(algorithm, GroupAlgorithm):
        kind = type(algorithm).__name__
        raise TypeError(f"{kind} is no GroupAlgorithm of red_mcore.algorithms.base")
    return algorithm


class PromptCount(ABC):
    """Some steps sample fewer prompts than the recipe wants."""

    @abstractmethod
    def prompts(self, step: int, wanted: int) -> int:
        """Prompts to sample in step ``step``, where the recipe wants ``wanted``."""


SampleAfter = Callable[[Sequence[Problem], Sequence[int]], list[Group]]
"""(problems, characters) -> graded groups whose rollouts go on after so many leading characters
of the problem's trace; a group without samples where the trace is not usable."""


class Branching(ABC):
    """Some problems are sampled anew after a part of their trace."""

    needs_traces: ClassVar[bool] = True

    @abstractmethod
    def branch(
        self, groups: list[Group], state: State, step: int, sample_after: SampleAfter
    ) -> tuple[list[Group], Metrics]:
        """The groups that go on to ``compose``, and metrics."""


class UpdateCount(ABC):
    """Some steps make fewer updates than the recipe wants."""

    @abstractmethod
    def updates(self, groups: Groups, wanted: int) -> int:
        """Optimizer updates on a step's groups, where the recipe wants ``wanted``; N is that of
        ``wanted`` updates."""


@dataclass
class Lesson:
    """Traces to imitate in one update of the optimizer ``imitation``."""

    problems: Sequence[Problem]
    beta: float = 0.0
    lr_scale: float = 1.0
    """Multiplies the learning rate that the optimizer's schedule gives."""


@dataclass
class TrainingProblems:
    """The training problems, for lessons."""

    problems: Sequence[Problem]
    usable: Callable[[Problem], bool]
    """Whether a problem has a trace that is neither empty nor too long."""
    seed: int
    """The run's."""


class Lessons(ABC):
    """Updates on traces alone follow the step's own, with an optimizer of their own.

    The algorithm's ``optimizers`` name it ``imitation``; ``aggregate`` and ``token_losses`` are
    called for a lesson's traces as for a step's samples.
    """

    needs_traces: ClassVar[bool] = True

    @abstractmethod
    def lessons(
        self,
        groups: Groups,
        state: State,
        step: int,
        training: TrainingProblems,
    ) -> list[Lesson]:
        """The lessons of this step; may change ``state``.

        ``groups`` are those of all prompts that were drawn, as first sampled: what the policy can
        do.
        """
