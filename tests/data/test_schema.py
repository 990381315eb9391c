"""The project's own files of problems with traces."""

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.data import schema
from red_mcore.data.schema import Entry
from red_mcore.samples.records import Trace

ENTRIES = [
    Entry(
        "a", "1+1?", "2", (Trace("2", "teacher", True, 3, "stop"), Trace("two")), {"origin": "x"}
    ),
    Entry("b", "é?", "\\frac{1}{2}"),
]


@pytest.mark.parametrize("name", ["set.jsonl", "set.parquet"])
def test_entries_are_read_as_they_were_written(tmp_path, name):
    schema.write(tmp_path / name, ENTRIES)
    assert list(schema.read(tmp_path / name)) == ENTRIES
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "problem": "p", "gold": "g"}, "line 1: 'id' is int: want text"),
        ({"id": "1", "problem": "p"}, "line 1: 'gold' is NoneType: want text"),
        ({"id": "1", "problem": "p", "gold": "g", "traces": "t"}, "'traces' is str: want a list"),
        ({"id": "1", "problem": "p", "gold": "g", "traces": [{}]}, "trace 1: want an object with"),
        ({"id": "1", "problem": "p", "gold": "g", "meta": "{"}, "'meta' is '{': want an object"),
        (
            {"id": "1", "problem": "p", "gold": "g", "traces": [{"text": "t", "tokens": True}]},
            "trace 1: 'tokens' is True: want int or null",
        ),
    ],
)
def test_what_is_no_entry_is_refused_by_name(row, message):
    with pytest.raises(RecipeError) as error:
        schema.entry(row, "line 1")
    assert message in str(error.value)
