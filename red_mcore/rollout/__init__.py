"""Sampling: the vLLM engine of a rank, weight publication into it, and the sharing of prompts
between engines."""
