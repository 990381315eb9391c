"""Three kills of ``kills.py``; run that for more."""

from kills import Soak


def test_a_killed_run_ends_as_if_undisturbed_and_goes_on_under_any_layout(tmp_path):
    Soak(tmp_path, kills=3, seed=0, patience=3600)()
