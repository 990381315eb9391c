"""Accuracy of sampled answers to held-out problems."""
