"""Verifiable rewards: verdicts from math-verify in child processes, and the terms added to them."""
