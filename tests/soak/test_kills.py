"""Three kills of ``kills.py``; run that for more."""

from kills import Soak


def prepare(folder, over):
    Soak(folder, kills=3, seed=0, patience=3600)()


def test_a_killed_run_ends_as_if_undisturbed_and_goes_on_under_any_layout(prepared):
    """It did so, else asking for ``prepared`` fails with what was found."""
