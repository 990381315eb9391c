"""Names of columns that are about, and what publishers mean by them.

``formats.py`` says which layouts they make, ``traces.py`` reads those of traces. Names are in small
letters; those of a file may have capitals.
"""

from __future__ import annotations

CHATS = ("messages", "conversations", "conversation")
PROBLEM = ("problem", "question", "prompt", "query", "instruction", "input", *CHATS)
GOLD = (
    "gt_answer", "answer", "final_answer", "expected_answer", "ground_truth", "ground_truth_answer",
    "reference_answer", "correct_answer", "gold", "gold_answer", "reward_model.ground_truth", "gt",
    "label", "answers", "extra_info.ground_truth", "extra_info.answer",
)  # fmt: skip
SOLUTIONS = ("solution", "ground_truth_solution", "target", "output", "response", "completion")
"""Columns of worked solutions, some of which hold bare answers."""
OWN = "traces"
"""The column of the project's own schema: a list of objects, each a trace."""
SCHEMA = ("id", "problem", "gold", OWN)
"""The columns that make a file one of the project's own."""
TRACES = (
    OWN, "trace", "distill", "generations", "r1_solution_1", "r1_solution_2", "r1_solution_3",
    "generated_solution", "deepseek_attempt", "attempt", "gemini_attempt", "deepseek_solution",
)  # fmt: skip
RESPONSES = ("response", "completion")
"""The SOLUTIONS that are a trace as they are, where the gold is in another column."""
THOUGHTS = {
    "attempt": "thinking_trajectories",
    "deepseek_attempt": "deepseek_thinking_trajectory",
    "gemini_attempt": "gemini_thinking_trajectory",
    "deepseek_solution": "deepseek_reasoning",
}
"""Columns of the reasoning that belongs before a trace."""
GRADES = {"deepseek_attempt": "deepseek_grade", "gemini_attempt": "gemini_grade"}
"""Columns that say, by Yes or No, whether a trace is right."""
TEACHERS = {
    "deepseek_attempt": "deepseek",
    "deepseek_solution": "deepseek",
    "gemini_attempt": "gemini",
    "r1_solution_1": "deepseek-r1",
    "r1_solution_2": "deepseek-r1",
    "r1_solution_3": "deepseek-r1",
}
"""Who wrote the traces of a column, where its name tells."""
RIGHT = ("correctness_math_verify", "correctness_llama")
"""Columns of marks, a boolean for each solution of a list: right where one of them says so."""
COMPLETE = "is_reasoning_complete"
"""The column of marks that say whether each solution of a list came to its end."""
FINISHES = "finish_reasons"
"""The column that says why each solution of a list ended."""
BESIDE = (
    *THOUGHTS.values(), *GRADES.values(), *RIGHT, COMPLETE, FINISHES, "system", "input", "id",
)  # fmt: skip
"""Columns that are looked at whatever the layout."""
