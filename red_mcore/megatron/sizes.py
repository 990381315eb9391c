"""Sizes that both the computation and the estimate of its memory go by. No torch."""

CHUNK_BYTES = 2**28
"""Size of the float32 logits that exist at a time."""
