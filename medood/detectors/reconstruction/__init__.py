"""Detectors that score what they cannot reconstruct."""
