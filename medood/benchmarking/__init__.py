"""Grids of detectors, cohorts and seeds: jobs, results, tables."""
