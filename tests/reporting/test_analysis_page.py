"""The page of an analysis, from numbers that no model had to be asked for."""

import json

import numpy as np
import pytest

from red_mcore.analysis.findings import Likelihood, find, find_behaviours, find_positions
from red_mcore.analysis.judge import Judgements
from red_mcore.analysis.lengths import learnability_gap
from red_mcore.analysis.likelihood import TokenScores
from red_mcore.analysis.positions import Scored, rank_shift
from red_mcore.analysis.recorded import read_evaluation
from red_mcore.reports import plots
from red_mcore.reports.analysis.report import write_analysis

HOSTILE = "<script>alert(1)</script>"
IDS = {"anthropomorphic": [1], "connectors": [2]}


@pytest.fixture
def evaluations(tmp_path):
    """Two models' responses to three problems, two each, of which one is right."""
    found = []
    for name in ("base", HOSTILE):
        rows = []
        for item in range(3):
            answer = {"text": f"wait so {item}", "tokens": 4 + item}
            answers = [answer | {"verdict": verdict} for verdict in ("correct", "wrong")]
            rows.append(
                {
                    "benchmark": "B",
                    "item": item,
                    "problem": "p",
                    "gold": "1",
                    "kind": "math",
                    "responses": answers,
                }
            )
        folder = tmp_path / str(len(found))
        folder.mkdir()
        (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found.append(read_evaluation(folder, name))
    return found


def scored(evaluation, seed: int) -> list[Scored]:
    random = np.random.default_rng(seed)
    found = []
    for response in evaluation.responses:
        ids = np.array([1, 2, 3, 1, 2, 3])
        logp, entropy = np.log(random.uniform(0.1, 1, (2, 6))).astype(np.float32)
        scores = TokenScores(
            logp, -entropy, random.integers(0, 9, 6).astype(np.int32), random.uniform(0, 1, (2, 6))
        )
        found.append(Scored(response, ids, scores))
    return found


def all_of(evaluation):
    """Everything that an analysis can find."""
    found = find(evaluation, evaluation.responses, "tokens")
    own, before = scored(evaluation, 0), scored(evaluation, 1)
    shift, texts = rank_shift(own, before, least=1), {1: "wait", 2: " so", 3: HOSTILE}
    positions = [
        find_positions(own, IDS),
        find_positions(before, IDS),
        find_positions(own, IDS, before),
    ]
    sizes = {name: len(ids) for name, ids in IDS.items()}
    found.likelihood = Likelihood("m", "o", 6, {"empty": 2}, 1, sizes, *positions, shift, 6, texts)
    counts = {"multi_perspective": 1, "metacognitive": 2}
    found.behaviours = find_behaviours(
        evaluation.responses, Judgements([counts] * 5 + [None], {HOSTILE: 1})
    )
    return found


def test_every_section_and_its_figures(evaluations, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "svg", lambda figure: "<svg></svg>")
    monkeypatch.setattr(plots.Plot, "save_png", lambda plot, path: path)
    gaps = {HOSTILE: learnability_gap(*evaluations)}
    files = write_analysis(
        tmp_path, [all_of(one) for one in evaluations], gaps, ["analyse", "a b"], judge="j"
    )
    page, numbers = files[0].read_text(), json.loads(files[1].read_text())
    sections = (
        "What was analysed",
        "Length by correctness",
        "Words of reasoning",
        "Probability along the response",
    )
    sections += (
        "Entropy along the response",
        "Token rank shift",
        "Cognitive behaviours",
        "Learnability gap",
    )
    for section in sections:
        assert f"<h2>{section}</h2>" in page
    figures = [file.stem for file in files[2:]]
    assert page.count("<svg>") == len(figures) == len(set(figures)) == 25
    assert {
        "words_connectors",
        "mass_change_anthropomorphic",
        "thirds_connectors",
        "ranks",
        "gap",
        "length_2",
    } <= set(figures)
    assert "<script" not in page
    for words in (
        "left out 2 empty",
        "1 responses are left out",
        "analyse &#39;a b&#39;",
        "<td>0.5</td>",
    ):
        assert words in page, words
    assert numbers["evaluations"]["base"]["likelihood"]["original"] == "o"


def test_sections_without_anything_are_not_there(evaluations, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "svg", lambda figure: "<svg></svg>")
    monkeypatch.setattr(plots.Plot, "save_png", lambda plot, path: path)
    found = [find(one, one.responses, "words") for one in evaluations]
    page = write_analysis(tmp_path, found, {}, [])[0].read_text()
    assert page.count("<h2>") == 3
    assert page.count("<svg>") == 1 + 3 + 3
