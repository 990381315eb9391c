"""Users' functions: what they are given, what is said of those that fail, verdicts, and when a run
ends by them."""

import multiprocessing
import sys

import numpy as np
import pytest

from red_mcore.config.recipe import RecipeError, Reward
from red_mcore.rewards import failures, functions
from red_mcore.rewards.functions import Call
from red_mcore.rewards.verifier import Verifier, graded
from red_mcore.samples.records import Problem, Sample

SOURCE = """
import functools
import sys

BUDGET = 5

def usual(problem, gold, response, tokens):
    return len(problem) + 10 * len(gold) + 100 * len(response) + 1000 * tokens

def short(p, g, r, n):
    return usual(p, g, r, n)

def any_number(*texts):
    return usual(*texts)

def by_name(response, level):
    return len(response) * level

def of_all(response, **columns):
    return len(columns) + 100 * columns["level"]

def beside(p, g, r, n, level, budget=7, *, scale=2.0):
    return n * level * budget * scale

def shadowed(response, tokens, answer):
    return tokens if response == "ab" and answer == "42" else None

def tokens_alone(tokens):
    return tokens

def wants_more(response, difficulty):
    return 1

def wrapped(function):
    @functools.wraps(function)
    def inner(*arguments, **columns):
        return function(*arguments, **columns)
    return inner

@wrapped
def decorated(response, level):
    return level

class Bonus:
    def __call__(self, response, level):
        return 3 * level

bonus = Bonus()

def never(problem, gold, response, tokens):
    inner = {}
    return inner["no such key"]

def nothing(response):
    pass

def infinite(response):
    return float("inf")

def leaves(response):
    sys.exit(3)

def spins(response):
    while True:
        pass

def in_a_box(response):
    if "think" in response:
        raise ValueError("no thoughts here")
    return 1.0

def judge(gold, response, level):
    if response == "bad":
        raise ValueError("cannot say")
    if response == "odd":
        return 0.5
    said = {"same": True, "one": 1, "none": 0.0, "word": "unparsable"}
    return said.get(response, response == gold)
"""
ROW = {"level": 3, "answer": "42", "tags": ["a", {"b": None}]}


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory):
    """The users' module, where children find it."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "my_rewards.py").write_text(SOURCE)
    (folder / "my_broken.py").write_text("import no_such_library\n")
    (folder / "my_script.py").write_text("raise SystemExit(1)\n")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def verifier(module):
    with Verifier(Reward(timeout_seconds=20, verdict="my_rewards:judge")) as verifier:
        yield verifier


def path(name: str) -> str:
    return f"my_rewards:{name}"


def test_functions_are_given_what_they_ask_for(verifier):
    call = Call("abc", "7", "ab", 4, ROW)
    expected = {
        "usual": 4213,
        "short": 4213,
        "any_number": 4213,
        "by_name": 6,
        "of_all": 306,  # three columns, problem, gold and tokens
        "beside": 4 * 3 * 7 * 2.0,
        "shadowed": 4,
        "tokens_alone": 4,
        "decorated": 3,
        "bonus": 9,
    }
    found = {name: verifier.call(path(name), [call])[0] for name in expected}
    assert found == expected
    assert verifier.call(
        path("beside"), [call._replace(columns={"level": 1, "budget": 2, "scale": 3.0})]
    ) == [24.0]


def test_four_texts_without_a_row_are_enough(verifier):
    assert verifier.call(path("usual"), [("abc", "7", "ab", 4)]) == [4213]


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["usual", "short", "any_number", "tokens_alone"], set()),
        (["usual", "by_name"], {"level"}),
        (["beside", "shadowed"], {"level", "budget", "scale", "answer"}),
        (["decorated", "bonus"], {"level"}),
        (["by_name", "of_all"], None),
        ([], set()),
    ],
)
def test_what_is_asked_of_the_data(names, columns):
    assert functions.columns(Reward(functions={path(name): 1.0 for name in names})) == columns


PROBLEMS = [
    Problem(i, f"{i}?", str(i), trace="a trace" if i else None, columns=ROW) for i in range(5)
]


def tried(reward: Reward, *sources: list[Problem]) -> None:
    functions.try_out(
        reward, lambda columns: {f"source {i}": found for i, found in enumerate(sources)}
    )


@pytest.mark.parametrize("name", ["usual", "by_name", "of_all", "beside", "decorated", "bonus"])
def test_a_good_function_passes_silently(name, capfd):
    tried(Reward(functions={path(name): 1.0}), PROBLEMS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("where", "said", "trace"),
    [
        ("my_rewards:usuall", "has no function 'usuall'; nearest is 'usual'", ""),
        ("my_rewards:BUDGET", "has no function 'BUDGET'", ""),
        (
            "my_broken:term",
            "No module named 'no_such_library'",
            'my_broken.py", line 1, in <module>',
        ),
        ("my_script:term", "SystemExit: 1", 'my_script.py", line 1, in <module>'),
        (
            "my_rewards:wants_more",
            "asks for 'difficulty', which is none of problem, gold, response, tokens and no",
            "",
        ),
        (
            "my_rewards:never",
            "on each of the 8 calls tried with problems of source 0: KeyError",
            'return inner["no su',
        ),
        ("my_rewards:nothing", "returned None, want a finite number", ""),
        ("my_rewards:infinite", "my_rewards.py line 57) returned inf, want a finite number", ""),
        ("my_rewards:leaves", "SystemExit: 3", "sys.exit(3)"),
    ],
)
def test_a_broken_function_is_refused_with_its_traceback(where, said, trace, capfd):
    before = multiprocessing.active_children()
    with pytest.raises(RecipeError) as error:
        tried(Reward(functions={where: 1.0}), PROBLEMS)
    assert str(error.value).startswith(f"reward.functions: '{where}' fails")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    shown = capfd.readouterr().err
    assert trace in shown if trace else shown == ""
    assert shown.count("Traceback") <= 1
    assert "functions.py" not in shown  # it begins with the user's own code
    assert multiprocessing.active_children() == before


def test_a_function_that_hangs_is_refused_in_its_time(capfd):
    with pytest.raises(RecipeError, match=r"took more than reward\.timeout_seconds of CPU time"):
        tried(Reward(functions={path("spins"): 1.0}, timeout_seconds=0.5), PROBLEMS)


def test_a_function_that_fails_with_some_responses_is_told_and_passes(capfd):
    tried(Reward(functions={path("in_a_box"): 1.0}), PROBLEMS[:1])
    shown = capfd.readouterr().err
    assert "'my_rewards:in_a_box' fails with some responses, for one so:\nTraceback" in shown
    assert shown.count("ValueError: no thoughts here") == 1


def test_without_problems_functions_are_only_imported():
    tried(Reward(functions={path("never"): 1.0}), [])
    with pytest.raises(RecipeError, match="has no function 'nevr'"):
        tried(Reward(functions={path("nevr"): 1.0}), [])


def test_a_verdict_is_tried_with_every_source(capfd):
    reward = Reward(verdict=path("judge"))
    tried(reward, PROBLEMS, PROBLEMS)
    lacking = [Problem(0, "?", "7")]
    with pytest.raises(
        RecipeError,
        match=r"reward\.verdict: .* tried with problems of source 1: .*asks for 'level'",
    ):
        tried(reward, PROBLEMS, lacking)
    tried(
        Reward(functions={path("by_name"): 1.0}), PROBLEMS, lacking
    )  # benchmarks have verdicts alone


def test_imports_are_not_charged_to_the_first_call(module, tmp_path):
    """Nor to the next one of a child that takes another's place; each has the threads that its
    imports start."""
    (module / "my_slow.py").write_text(
        "import concurrent.futures, os, pathlib, time\n"
        "end = time.process_time() + 1.5\n"
        "while time.process_time() < end: pass\n"
        "threads = concurrent.futures.ThreadPoolExecutor(1)\n"
        "threads.submit(int).result()\n"
        "def term(response):\n"
        "    return threads.submit(len, response).result()\n"
        "def once(response):\n"
        "    if not os.path.exists(response):\n"
        "        pathlib.Path(response).touch()\n"
        "        os.abort()\n"
        "    return 2\n"
    )
    tried(Reward(functions={"my_slow:term": 1.0}, timeout_seconds=1.0), PROBLEMS)
    with Verifier(Reward(functions={"my_slow:term": 1.0}, timeout_seconds=1.0)) as verifier:
        assert verifier.call("my_slow:term", [("?", "7", "x", 1)]) == [1.0]
        assert verifier.call("my_slow:once", [("?", "7", str(tmp_path / "once"), 1)]) == [2.0]
        assert verifier.call("my_slow:term", [("?", "7", "x", 1)]) == [1.0]


def test_verdicts_of_the_users_own(verifier):
    said = {
        "same": "correct",
        "one": "correct",
        "none": "wrong",
        "word": "unparsable",
        "7": "correct",
        "8": "wrong",
        "bad": "crash",
        "odd": "crash",
        " ": "unparsable",
        "\\boxed{3}": "wrong",
    }
    problem = Problem(0, "?", "7", columns=ROW)
    grades = graded(verifier, verifier.settings, [(problem, text, 3) for text in said])
    assert dict(zip(said, [g.verdict for g in grades], strict=True)) == said
    assert grades[-1].answer == "3"
    assert "ValueError: cannot say" in verifier.failures["my_rewards:judge"]
    assert 'my_rewards.py", line ' in verifier.failures["my_rewards:judge"]


def samples(*terms: float | None, verdict: str = "wrong") -> list[Sample]:
    none = np.zeros(1, np.int32)
    return [
        Sample(none, none, verdict=verdict, terms={"accuracy": 0.0, "usual": term})
        for term in terms
    ]


@pytest.mark.usefixtures("one_rank")
class TestWatching:
    """Of one rank; what several say at once is gathered (``ranks.from_all``)."""

    @pytest.fixture
    def said(self):
        return []

    @pytest.fixture
    def failing(self, verifier):
        verifier.failures, verifier.told, verifier.warned = (
            {path("usual"): "Traceback ..."},
            set(),
            set(),
        )
        return verifier

    def watch(self, reward, verifier, found, said):
        failures.watch(reward, verifier, found, "step 3", said.append)

    def test_the_first_failure_is_told_once_and_a_large_share_too(self, failing, said):
        reward = Reward(functions={path("usual"): 1.0}, failed_share=0.25)
        self.watch(reward, failing, samples(None, 1, 1, 1), said)
        assert said == [
            "red_mcore: warning: 'my_rewards:usual' failed, for the first time so:\nTraceback ..."
        ]
        self.watch(reward, failing, samples(None, None, 1, 1), said)
        assert len(said) == 2
        assert (
            "step 3: reward.functions 'my_rewards:usual' failed on 2 of 4 calls, more than"
            " reward.failed_share=0.25" in (said[1])
        )
        self.watch(reward, failing, samples(None, None, 1, 1), said)
        assert len(said) == 2

    def test_a_term_that_fails_on_every_call_ends_the_run(self, failing, said):
        reward = Reward(functions={path("usual"): 1.0}, failed_share=1.0)
        with pytest.raises(
            RuntimeError,
            match=r"step 3: reward\.functions 'my_rewards:usual' failed on all of its 2 calls",
        ):
            self.watch(reward, failing, samples(None, None), said)
        assert len(said) == 1

    def test_a_verdict_that_fails_on_every_call_ends_the_run(self, failing, said):
        reward = Reward(verdict=path("judge"))
        self.watch(reward, failing, samples(1, verdict="crash") + samples(1) * 30, said)
        with pytest.raises(
            RuntimeError,
            match=r"step 3: reward\.verdict 'my_rewards:judge' failed on all of its 3 calls",
        ):
            self.watch(
                reward,
                failing,
                samples(1, 1, verdict="crash") + samples(1, verdict="timeout"),
                said,
            )

    def test_nothing_sampled_is_no_failure(self, failing, said):
        self.watch(Reward(functions={path("usual"): 1.0}), failing, [], said)

    def test_a_rank_without_verifier_ends_alike(self, said):
        reward = Reward(functions={path("usual"): 1.0})
        with pytest.raises(RuntimeError, match="failed on all of its 2 calls"):
            self.watch(reward, None, samples(None, None), said)
