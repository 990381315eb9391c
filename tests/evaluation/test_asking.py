"""Chunks, resumption and rows, with an engine that parrots; real ones are in
tests/test_end_to_end.py."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from red_mcore.config.recipe import Protocol, RecipeError, Reward
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.evaluation import asking, items, protocols
from red_mcore.evaluation.asking import Evaluator, check_lengths, chunks, encode, prompts
from red_mcore.evaluation.summary import summarise
from red_mcore.megatron.ranks import Ranks
from red_mcore.rewards.verifier import Grade, Verifier
from red_mcore.rollout.protocol import Completion
from red_mcore.samples.records import Problem

PROBLEMS = {
    "one": [Problem(i, f"{i}?", str(i)) for i in range(7)],
    "AMC": [Problem(i, f"{i}!", "A", kind="choice") for i in range(3)],
}


class Parrot:
    replica, replicas, is_leader = 0, 1, True
    checksum, about, stop_ids = "ab", {"engine": "parrot"}, ()

    def __init__(self, tokenizer, calls: int | None = None):
        self.tokenizer, self.left, self.asked = tokenizer, calls, []

    def reset(self):
        pass

    def sample(self, encoded, n, seeds, *, temperature, top_p, max_tokens, watch):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        self.asked.append(self.tokenizer.batch_decode(encoded))
        out = []
        for asked, seed in enumerate(seeds, 1):
            answers = [self.tokenizer.encode(f"\\boxed{{{(seed + i) % 5}}}") for i in range(n)]
            out.append(
                [
                    Completion(np.array(a, np.int32), np.zeros(len(a), np.float32), i == 1, 0)
                    for i, a in enumerate(answers)
                ]
            )
            watch(asked * n, len(seeds) * n)
        return out


class Judge:
    def __init__(self, **settings):
        self.settings = Reward(**settings)

    def grade(self, questions, boxed_only):
        assert boxed_only is False
        return [
            Grade("correct" if text == f"\\boxed{{{gold}}}" else "wrong", text[7:-1])
            for gold, text, _ in questions
        ]


pytestmark = pytest.mark.usefixtures("one_rank")


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


HERE = Ranks(*[0, 1] * 5)
PROTOCOL = Protocol(samples=2, competition_samples=5, sequences_per_call=4, max_tokens=9)


def ask(tokenizer, folder, engine, problems=PROBLEMS) -> list[dict]:
    """The lines of ``problems``."""
    summary = Evaluator(PROTOCOL, tokenizer, engine, Judge()).ask(
        problems, folder, HERE, lambda ready, total: None
    )
    assert summary == summarise(
        [response for response in items.read(folder) if response.benchmark in problems]
    )
    lines = (folder / items.ITEMS).read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["benchmark"] in problems]


def test_progress_is_that_of_all_chunks(tokenizer, tmp_path):
    told = []
    evaluator = Evaluator(PROTOCOL, tokenizer, Parrot(tokenizer), Judge())
    evaluator.ask(PROBLEMS, tmp_path, HERE, lambda *progress: told.append(progress))
    assert told == [(done, 7 * 2 + 3 * 5) for done in (*range(2, 15, 2), 19, 24, 29)]


def test_chunks_hold_whole_problems_of_one_benchmark():
    found = [[f"{name}{item}" for name, item in chunk] for chunk in chunks(PROBLEMS, PROTOCOL)]
    assert found == [
        ["one0", "one1"],
        ["one2", "one3"],
        ["one4", "one5"],
        ["one6"],
        ["AMC0"],
        ["AMC1"],
        ["AMC2"],
    ]


def test_rows_tell_all_of_a_response(tokenizer, tmp_path):
    engine = Parrot(tokenizer)
    rows = ask(tokenizer, tmp_path, engine)
    assert [(row["benchmark"], row["item"]) for row in rows] == [("one", i) for i in range(7)] + [
        ("AMC", i) for i in range(3)
    ]
    assert [len(row["responses"]) for row in rows] == [2] * 7 + [5] * 3
    assert rows == [
        json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()
    ]
    row = rows[3]
    assert tokenizer.decode(row["prompt_ids"]) == f"<|user|>3?\n{PROTOCOL.instruction}<|assistant|>"
    first, second = row["responses"]
    assert first["tokens"] == len(first["token_ids"]) == 3
    assert tokenizer.decode(first["token_ids"]) == first["text"] == f"\\boxed{{{first['answer']}}}"
    assert (first["finish"], second["finish"]) == ("stop", "length")
    assert (first["verdict"] == "correct") == (first["answer"] == "3")
    assert PROTOCOL.choice_instruction in tokenizer.decode(rows[-1]["prompt_ids"])


def test_an_interrupted_evaluation_goes_on_with_whole_chunks(tokenizer, tmp_path):
    whole = Parrot(tokenizer)
    expected = ask(tokenizer, tmp_path / "whole", whole)
    folder = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        ask(tokenizer, folder, Parrot(tokenizer, calls=3))
    part = folder / "items.part-0.jsonl"
    lines = part.read_text().splitlines(keepends=True)
    assert len(lines) == 6
    torn = lines[5].encode().replace(b"?", "π".encode())[:40]
    part.write_bytes(
        "".join(lines[:5]).encode() + torn + "π".encode()[:1]
    )  # killed while the third chunk was written
    rest = Parrot(tokenizer)
    assert ask(tokenizer, folder, rest) == expected
    assert rest.asked == whole.asked[2:]
    assert (folder / "items.jsonl").read_text() == (tmp_path / "whole/items.jsonl").read_text()
    assert ask(tokenizer, folder, Parrot(tokenizer, calls=0)) == expected  # nothing is left to ask
    only = {"AMC": PROBLEMS["AMC"]}
    assert [
        row["benchmark"] for row in ask(tokenizer, folder, Parrot(tokenizer, calls=0), only)
    ] == ["AMC"] * 3
    assert (
        len((folder / "items.jsonl").read_text().splitlines()) == 10
    )  # the other benchmark's rows stay


def test_tokens_depend_on_protocol_and_problem_alone(tokenizer, tmp_path):
    both = ask(tokenizer, tmp_path / "both", Parrot(tokenizer))
    alone = ask(tokenizer, tmp_path / "alone", Parrot(tokenizer), {"AMC": PROBLEMS["AMC"]})
    assert both[7:] == alone


def test_a_folder_belongs_to_one_evaluation(tmp_path):
    identity = {"weights": "ab", "protocol": {"samples": 4}, "problems": {"one": "1"}}
    items.claim(tmp_path, identity)
    items.claim(tmp_path, identity)
    items.claim(tmp_path, {**identity, "problems": {"AMC": "2"}})  # a further benchmark
    assert json.loads((tmp_path / items.IDENTITY).read_text())["problems"] == {
        "one": "1",
        "AMC": "2",
    }
    for field, other in {"weights": "cd", "protocol": {"samples": 8}}.items():
        with pytest.raises(
            RecipeError, match=f"holds an evaluation with {field}.*choose another --out"
        ):
            items.claim(tmp_path, {**identity, field: other})
    with pytest.raises(RecipeError, match=r"holds AMC with other problems .*choose another --out"):
        items.claim(tmp_path, {**identity, "problems": {"AMC": "3"}})


def test_a_folder_of_an_earlier_version_learns_what_it_did_not_know(tmp_path):
    items.claim(tmp_path, {"weights": "ab", "protocol": {"samples": 4}, "problems": {}})
    whole = {
        "weights": "ab",
        "tokenizer": "t",
        "protocol": asdict(Protocol(samples=4)),
        "problems": {},
    }
    items.claim(tmp_path, whole)
    with pytest.raises(
        RecipeError, match=r"holds an evaluation with tokenizer=\"t\", now it is \"u\""
    ):
        items.claim(tmp_path, {**whole, "tokenizer": "u"})
    with pytest.raises(RecipeError, match=r"with protocol\.top_p=1\.0, now it is 0\.9"):
        items.claim(tmp_path, {**whole, "protocol": asdict(Protocol(samples=4, top_p=0.9))})
    with pytest.raises(RecipeError, match=r"with weights=\"ab\", now it is null"):
        items.claim(tmp_path, {"generations": "a.jsonl", "problems": {}})


def test_another_tokenizer_template_or_grading_is_refused(tokenizer, tmp_path):
    ask(tokenizer, tmp_path, Parrot(tokenizer))
    other = build_tokenizer()
    other.chat_template = other.chat_template.replace("<|user|>", "<|user|> ")
    with pytest.raises(RecipeError, match="holds an evaluation with tokenizer="):
        ask(other, tmp_path, Parrot(tokenizer))
    evaluator = Evaluator(PROTOCOL, tokenizer, Parrot(tokenizer), Judge(timeout_seconds=9.0))
    with pytest.raises(
        RecipeError, match=r"holds an evaluation with timeout_seconds=5\.0, now it is 9\.0"
    ):
        evaluator.ask(PROBLEMS, tmp_path, HERE, lambda ready, total: None)


def test_another_model_is_refused_or_takes_the_place(tokenizer, tmp_path):
    ask(tokenizer, tmp_path, Parrot(tokenizer))
    other = Parrot(tokenizer)
    other.checksum = "cd"
    with pytest.raises(RecipeError, match="holds an evaluation with weights="):
        ask(tokenizer, tmp_path, other)
    evaluator = Evaluator(PROTOCOL, tokenizer, other, Judge())
    evaluator.ask(PROBLEMS, tmp_path, HERE, lambda ready, total: None, renew=True)
    assert len(other.asked) == 7
    assert json.loads((tmp_path / items.IDENTITY).read_text())["weights"] == "cd"


def test_rows_that_never_show_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "VISIBLE_SECONDS", 0.0)
    response = {"text": "2", "answer": "2", "verdict": "correct", "tokens": 1, "finish": "stop"}
    row = {"benchmark": "one", "item": 0, "problem": "1+1?", "responses": [response]}
    items.append(tmp_path, 0, items.parse(row))
    with pytest.raises(
        RecipeError, match=r"lacks 1 of 2 problems .* a file system that all ranks share"
    ):
        asking._gathered(tmp_path, [[("one", 0)], [("one", 1)]])
    assert (tmp_path / "items.part-0.jsonl").is_file()  # nothing is thrown away


def test_prompts_by_protocol(tokenizer):
    problem = PROBLEMS["one"][3]
    found = {
        name: tokenizer.decode(encode(tokenizer, problem, protocols.protocol(name)))
        for name in protocols.NAMES
    }
    boxed = "Please reason step by step, and put your final answer within \\boxed{}."
    assert found == {
        "default": f"<|user|>3?\n{boxed}<|assistant|>",
        "red": f"<|im_start|>You are a helpful assistant.<|user|>3?\n{boxed}<|assistant|>",
        "luffy": "<|user|>3?<|assistant|><think>\n",
        "mix": f"<|user|>3?\n{boxed}<|assistant|>",
    }


def test_an_opening_that_the_template_has_is_not_repeated(tokenizer):
    thinking = build_tokenizer()
    thinking.chat_template = tokenizer.chat_template.replace(
        "'<|assistant|>' -}}{%- endif", "'<|assistant|><think>\n' -}}{%- endif"
    )
    found = thinking.decode(encode(thinking, PROBLEMS["one"][3], protocols.luffy()))
    assert found == "<|user|>3?<|assistant|><think>\n"


def test_lengths_are_checked_with_the_fix(tokenizer):
    encoded = prompts(tokenizer, PROBLEMS, PROTOCOL)
    longest = max(map(len, encoded.values()))
    check_lengths(encoded, PROTOCOL, longest + 9, "room")
    with pytest.raises(
        RecipeError, match=f"needs {longest + 9}, but the room is {longest + 5}: use max_tokens=5"
    ):
        check_lengths(encoded, PROTOCOL, longest + 5, "the room")


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (Protocol(samples=0), "samples=0 of the protocol is too small"),
        (Protocol(competition_samples=0), "competition_samples=0 of the protocol is too small"),
        (Protocol(top_p=0.0), "top_p=0"),
        (Protocol(temperature=0.0), "gives 32 equal samples"),
        (
            Protocol(temperature=0.0, competition_samples=None),
            "gives 4 equal samples: use samples=1 competition",
        ),
        (Protocol(temperature=-1.0), "temperature=-1"),
    ],
)
def test_protocols_are_checked(protocol, message):
    with pytest.raises(RecipeError, match=message):
        protocols.check(protocol, ["AIME24", "MATH-500"], "--protocol")


def test_unknown_protocols_are_refused():
    with pytest.raises(
        RecipeError, match="--protocol lufy is unknown: use default, red, luffy, mix"
    ):
        protocols.protocol("lufy")


def test_an_engine_that_gives_no_numbers_measures_nothing(tokenizer, tmp_path):
    class Broken(Parrot):
        def sample(self, *arguments, **options):
            answers = super().sample(*arguments, **options)
            answers[1][0].logp[1] = np.nan
            return answers

    with pytest.raises(
        RuntimeError,
        match="log-prob of token 1 of rollout 1 of problem 1 is nan, sampled for one on",
    ):
        ask(tokenizer, tmp_path, Broken(tokenizer))


def test_a_verdict_of_the_users_own_judges_benchmarks(tokenizer, tmp_path, capsys):
    reward = Reward(verdict="own_verdicts:ends_in_the_unit", timeout_seconds=20)
    asked = {
        "good": [Problem(i, f"{i}?", "x", columns={"unit": f"{i}}}"}) for i in range(5)],
        "bad": [Problem(i, f"{i}?", "x", columns={"unit": "never"}) for i in range(2)],
    }

    def ask(names: list[str], folder) -> dict:
        problems = {name: asked[name] for name in names}
        with Verifier(reward) as verifier:
            evaluator = Evaluator(PROTOCOL, tokenizer, Parrot(tokenizer), verifier, reward)
            return evaluator.ask(problems, folder, HERE, lambda ready, total: None)

    summary = ask(["good"], tmp_path / "good")
    for response in items.read(tmp_path / "good"):
        assert response.answer == response.text[7:-1]
        assert response.verdict == ("correct" if response.answer == str(response.item) else "wrong")
    assert 0 < summary["benchmarks"]["good"]["mean"] < 1
    grader = json.loads((tmp_path / "good" / items.IDENTITY).read_text())["grader"]
    assert grader.startswith(f"{reward.verdict} ")
    with pytest.raises(RuntimeError, match=r"bad: reward\.verdict '.*' failed on all of its calls"):
        ask(["good", "bad"], tmp_path / "bad")
    assert capsys.readouterr().out.count("ValueError: never") == 1
    asked["good"][1].columns["unit"] = "7}"
    with pytest.raises(RecipeError, match="holds good with other problems"):
        ask(["good"], tmp_path / "good")
