"""A scoring as one HTML file: the cohort, single cases, and the evaluation where there are labels."""
