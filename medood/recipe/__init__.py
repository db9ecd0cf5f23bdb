"""Recipes: what a training is made of, checked before anything is imported, and the run folders that come of it."""
