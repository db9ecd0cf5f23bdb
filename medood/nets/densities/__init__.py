"""Densities and distances of rows of numbers."""
