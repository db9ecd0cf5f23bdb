"""Decoding of pixel data."""
