"""The nouns of medood: geometry, volumes, detectors, files, errors. Imports nothing else of medood."""
