"""Traces from a teacher: asking, verifying, keeping, and going on where a kill left off."""
