import json

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.data.cursor import Cursor


def test_each_epoch_deals_every_index_once_in_its_own_order():
    dealt = Cursor(10, seed=1).next(30)
    epochs = [dealt[:10], dealt[10:20], dealt[20:]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_batches_span_epochs_without_changing_the_order():
    whole, pieces = Cursor(7, seed=2), Cursor(7, seed=2)
    assert whole.next(24) == [i for _ in range(8) for i in pieces.next(3)]


@pytest.mark.parametrize("before", [0, 5, 7, 16])
def test_restored_cursor_goes_on_as_if_never_stopped(before):
    cursor = Cursor(7, seed=3)
    cursor.next(before)
    saved = json.loads(json.dumps(cursor.state()))
    resumed = Cursor(7, seed=3)
    resumed.restore(saved)
    assert resumed.next(20) == cursor.next(20)


def test_other_data_and_no_data_are_refused():
    with pytest.raises(RecipeError, match="count=7, this recipe gives 8"):
        Cursor(8, seed=3).restore(Cursor(7, seed=3).state())
    with pytest.raises(RecipeError, match="count=0"):
        Cursor(0, seed=3)
