"""Near duplicates: the same numbers, and nearly the same words."""

from red_mcore.preparation.repeats import Near

TEXT = "Ann sells 48 clips in April, and half as many clips in May. How many clips does she sell?"


def near() -> Near:
    found = Near(0.7)
    found.add(3, found.find(TEXT)[1])
    return found


def test_another_word_leaves_a_problem_alike():
    (one,), _ = near().find(TEXT.replace("sells 48", "sold 48"))
    assert (one.place, one.same_numbers) == (3, True)
    assert 0.7 <= one.similarity < 1


def test_another_number_makes_another_problem():
    (one,), _ = near().find(TEXT.replace("48", "52"))
    assert not one.same_numbers


def test_other_words_are_not_alike():
    assert (
        near().find("Ann buys 48 books, each of which costs her three dollars. How many?")[0] == []
    )


def test_texts_without_words_are_compared_too():
    found = Near(0.7)
    found.add(0, found.find("??")[1])
    assert [one.place for one in found.find("!")[0]] == [0]
