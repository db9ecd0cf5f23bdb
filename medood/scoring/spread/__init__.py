"""Scoring by the workers of an engine: units of entries, part files that hold their rows, and a driver that puts these together."""
