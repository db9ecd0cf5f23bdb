"""Benchmark files, and the results of what they ask for."""
