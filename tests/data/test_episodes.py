import pytest

from red_mcore.config.recipe import Arithmetic
from red_mcore.data.arithmetic import make_problems
from red_mcore.data.episodes import split

SOLUTION = (
    "Let $x$ be the side, i.e. the length, of approx. $3.5$ cm. By Eq. $3$ we have 5! = 120. Then\n"
    "\\[\nx^2 = 12.25.\n\\]\n"
    "1. First, \\boxed{a} is no answer... Really? (As in Fig. $2$.) It is not.\n\n"
    "So $x^2 + 1 = 13.25.$ Hence $\\boxed{13.25}$. Check: yes. The answer is \\boxed{13.25}."
)


def test_sentences_lines_and_paragraphs():
    assert split(SOLUTION, 12) == [
        "Let $x$ be the side, i.e. the length, of approx. $3.5$ cm.",
        " By Eq. $3$ we have 5! = 120.",
        " Then\n",
        "\\[\n",
        "x^2 = 12.25.\n",
        "\\]\n",
        "1. First, \\boxed{a} is no answer... Really?",
        " (As in Fig. $2$.)",
        " It is not.\n\n",
        "So $x^2 + 1 = 13.25.$",
        " Hence $\\boxed{13.25}$. Check: yes. The answer is \\boxed{13.25}.",
    ]


def test_many_sentences_are_shared_out_evenly():
    trace = "".join(f"Step {i} is done.\n" for i in range(101)) + "\\boxed{1}"
    lines = [part.count("\n") for part in split(trace, 10)]
    assert lines == [10, 10, 10, 10, 11, 10, 10, 10, 10, 10]


def test_without_a_box_the_last_sentence_is_the_answer():
    parts = ["The sum is 5.", " It is odd.\n", "The answer is 5.\n"]
    assert split("".join(parts), 4) == parts
    assert split("It is odd.\nThe answer is 5.", 10)[-1] == "The answer is 5."


def test_words_where_sentences_are_too_few():
    trace = "Two plus two is three plus one, so it is \\boxed{4}."
    assert split(trace, 5) == [
        "Two plus",
        " two is",
        " three plus",
        " one, so",
        " it is \\boxed{4}.",
    ]


def test_steps_of_a_compact_notation():
    assert split("a8*7=6b6+9=5c5@5=1w5@5=1d1-4=7\\boxed{7}", 10) == [
        "a8*7=6",
        "b6+9=5",
        "c5@5=1",
        "w5@5=1",
        "d1-4=7\\boxed{7}",
    ]


def test_even_pieces_as_a_last_resort_keep_commands_and_numbers_whole():
    spaced = "\\frac{ 1 } { 2 } + 3.14159 - \\sqrt{ 70 } = 1,000 *\\boxed{4}"
    pieces, trace = spaced.split(" "), spaced.replace(" ", "")
    assert split(trace, 15) == pieces
    assert split(trace, 5) == ["".join(pieces[i : i + 3]) for i in range(0, 15, 3)]


@pytest.mark.parametrize(
    "trace", ["", "x=5", "The answer is 5.", "\\boxed{3} is right. Yes. Sure."]
)
def test_an_answer_alone_is_one_episode(trace):
    assert split(trace, 10) == [trace]


def test_every_teacher_trace_is_cut_and_no_leading_episode_has_the_box():
    counts = set()
    for problem in make_problems(Arithmetic(), 500, seed=0):
        parts = split(problem.trace, 10)
        counts.add(len(parts))
        assert "".join(parts) == problem.trace
        assert all(parts)
        assert parts[-1].endswith(f"={problem.gold}\\boxed{{{problem.gold}}}")
    assert counts == {5, 6, 7, 8, 9, 10}


@pytest.mark.parametrize("box", ["\\boxed 5", "\\boxed{5"])
def test_a_broken_box_counts_as_the_answer(box):
    assert split(f"One. Two. Three. So {box}", 4)[-1] == f" So {box}"
