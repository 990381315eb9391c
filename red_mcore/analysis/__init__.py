"""Analyses of recorded responses: lengths, words, likelihood along a response, rank shift,
learnability gap, judge."""
