"""Detectors that draw a boundary around the normal images."""
