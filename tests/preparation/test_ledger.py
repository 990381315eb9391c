"""Results that outlive a kill."""

from red_mcore.preparation.ledger import Ledger

CODE = {"version": "1"}


def test_results_are_there_again_and_a_torn_line_is_not(tmp_path):
    file = tmp_path / "ledger.jsonl"
    Ledger(file, CODE).put({"a": "correct", "b": None})
    whole = file.read_bytes()
    Ledger(file, CODE).put({"c": "wrong"})
    file.write_bytes(file.read_bytes()[:-5])
    again = Ledger(file, CODE)
    assert ("a" in again, again["b"], "c" in again) == (True, None, False)
    assert file.read_bytes() == whole
    again.put({"c": "correct"})
    assert Ledger(file, CODE)["c"] == "correct"


def test_results_of_other_code_are_thrown_away(tmp_path):
    file = tmp_path / "ledger.jsonl"
    Ledger(file, CODE).put({"a": "correct"})
    assert "a" not in Ledger(file, {"version": "2"})
    assert "a" not in Ledger(file, CODE)
