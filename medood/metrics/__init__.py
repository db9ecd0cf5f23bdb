"""Ranking, pixel, calibration and interval metrics: arrays in, floats out."""
