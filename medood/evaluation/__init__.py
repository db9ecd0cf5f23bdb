"""Scores beside labels: numbers with intervals, localisation, tables."""
