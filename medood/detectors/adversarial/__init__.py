"""Detectors that train a reconstruction or a density against a discriminator."""
