"""Detectors that ask a classifier how sure it is."""
