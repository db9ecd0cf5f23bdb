"""Detectors that learn a task that needs no labels."""
