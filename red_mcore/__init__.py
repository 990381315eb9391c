"""red-mcore: Recall-Extend Dynamics (arXiv 2508.16677) on Megatron-Core and vLLM."""

__version__ = "0.1.0"
