"""Densities of features, learned by normalizing flows, with and without a contrast."""
