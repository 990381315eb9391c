"""What a run leaves to look at: MLflow, metrics.jsonl, tables of rollouts, summary.json, and the
progress on screen."""

from red_mcore.tracking.console import Console
from red_mcore.tracking.tracker import Tracker

__all__ = ["Console", "Tracker"]
