"""The nouns of medood: geometry, volumes, detectors, recipes, runs. Imports nothing else of medood."""
