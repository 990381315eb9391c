"""Cells of data files: understood as text, gold, trace or chat, or refused."""

import decimal
import math

import numpy as np
import pytest

from red_mcore.data import cells


@pytest.mark.parametrize(
    ("cell", "gold"),
    [
        ("204", "204"),
        (" $x^2$ \n", "$x^2$"),
        (204, "204"),
        (204.0, "204"),
        (-0.0, "0"),
        (0.1 + 0.2, "0.3"),
        (1 / 3, "0.333333333333333"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (float(np.float32(0.3)), "0.3"),
        (1 / 4096, "0.000244140625"),
        (np.float64(2.5), "2.5"),
        (np.int64(7), "7"),
        (decimal.Decimal("1.50"), "1.5"),
        ("\\boxed{204}", "204"),
        ("First \\boxed{1}, then \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("So $\\boxed 6$.", "6"),
        ("So \\fbox{7}", "7"),
        ("3+4=7\n#### 7", "7"),
        ("It is <<1000*2=2000>>2,000.\n#### 2,000", "2000"),
        ("a pair\n####(1,2)", "(1,2)"),
        (["12"], "12"),
        (["2", "\\boxed{3}"], "2, 3"),
        ([1, 2.0], "1, 2"),
        (("a",), "a"),
        (np.array(["2", "3"]), "2, 3"),
        ('["\\\\frac{1}{2}"]', "\\frac{1}{2}"),
        ("['1', '2']", "1, 2"),
        ('"34"', "34"),
        ("[1, 2]", "[1, 2]"),
        ("Yes", "Yes"),
    ],
)
def test_a_gold_is_what_the_verifier_wants(cell, gold):
    assert cells.gold(cell).text == gold


@pytest.mark.parametrize(
    "cell", [None, math.nan, np.float64("nan"), "", " \n", [], [None], "\\boxed{}", "steps\n####"]
)
def test_an_empty_cell_is_no_gold(cell):
    found = cells.gold(cell)
    assert found is None or not found.text


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (True, "is the bool True, want text or a number"),
        (math.inf, "is inf"),
        (
            {"value": "5"},
            "an object with value, want text or a number; name one of its fields with a dot",
        ),
        ([["1"], ["2"]], r"is the list \[\['1'\], \['2'\]\], want one answer"),
        (["1", 2], "want one answer, or a list of texts or of numbers"),
        (["1", None], "want one answer"),
        ([True, False], "want one answer"),
        (b"5", "is the bytes b'5'"),
        ("\ud83d", "half of a surrogate pair"),
    ],
)
def test_a_gold_that_is_not_understood_is_refused(cell, message):
    with pytest.raises(cells.CellError, match=message):
        cells.gold(cell)


def test_which_golds_are_worked_and_which_read_like_sentences():
    assert cells.gold("We add: \\boxed{4}").is_worked
    assert cells.gold("so\n#### 4").is_worked
    assert not cells.gold("$\\boxed{4}$.").is_worked
    for answer in (
        "7",
        "x=3",
        "\\frac{1}{2}",
        "10\\text{ square units}",
        "(1, 2]",
        "Yes",
        "Monday",
        "5 cm",
    ):
        assert not cells.gold(answer).is_sentence, answer
    for sentence in (
        "The answer is 7",
        "3+4=7, so seven",
        "3+4=7",
        "It is clear.\nSeven",
        "x" * 100,
    ):
        assert cells.gold(sentence).is_sentence, sentence


def test_traces():
    assert cells.trace("Think. \\boxed{2}\n") == "Think. \\boxed{2}\n"
    assert cells.trace("May: <<48/2=24>>24\n#### 24") == "May: 24\n\\boxed{24}"
    assert (
        cells.trace("#### Plan\nAdd.\n#### Result\nIt is \\boxed{2}.")
        == "#### Plan\nAdd.\n#### Result\nIt is \\boxed{2}."
    )
    assert cells.trace([None, "", "second"]) == "second"
    assert cells.trace('["one", "two"]') == "one"
    assert cells.trace("['one', 'two']") == "one"
    assert cells.trace([{"role": "assistant", "content": "hm"}]) == "hm"
    assert cells.trace([[{"role": "assistant", "content": "hm"}], "two"]) == "hm"
    for empty in (None, math.nan, "  ", [], [{"role": "assistant", "content": None}]):
        assert cells.trace(empty) is None
    for cell, message in (
        (5, "is the int 5, want text, a chat or a list"),
        (True, "is the bool True"),
        ({"text": "a"}, "an object with text"),
        ([1, 2], "is the int 1"),
        ([{"role": "user", "content": "q"}], "ends in a turn of role user"),
    ):
        with pytest.raises(cells.CellError, match=message):
            cells.trace(cell)


def test_turns_of_every_spelling():
    plain = [cells.Turn("system", "s"), cells.Turn("user", "q"), cells.Turn("assistant", "a")]
    texts = [("system", "s"), ("user", "q"), ("assistant", "a")]
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    chat = [{"role": role, "content": text} for role, text in texts]
    assert cells.turns(chat) == plain
    assert cells.turns([{"from": names[role], "value": text} for role, text in texts]) == plain
    assert cells.turns({"role": [r for r, _ in texts], "content": [t for _, t in texts]}) == plain
    assert cells.turns(np.array(chat)) == plain
    assert cells.turns(repr(chat)) == plain
    parts = [{"type": "text", "text": "q"}, {"type": "text", "text": "r"}]
    assert cells.turns([{"role": "user", "content": parts}]) == [cells.Turn("user", "qr")]
    thought = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    assert cells.turns([thought]) == [cells.Turn("assistant", "<think>\n2+2\n</think>\n\n4")]
    for other in ("text", ["a"], [{"id": 1}], {"a": "b"}, None, 3):
        assert cells.turns(other) is None
    for bad, message in (
        ({"role": "tool", "content": "x"}, "role tool"),
        ({"role": "user", "content": 5}, "content is the int 5"),
        ({"role": "user", "content": [{"type": "image", "image": "x"}]}, "content is the list"),
    ):
        with pytest.raises(cells.CellError, match=message):
            cells.turns([bad])
