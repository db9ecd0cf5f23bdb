"""Scores, maps and runs to look at."""
