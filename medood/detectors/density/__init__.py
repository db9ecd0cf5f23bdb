"""Detectors that estimate how likely an image is."""
