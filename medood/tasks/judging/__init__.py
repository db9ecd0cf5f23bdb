"""How good runs are."""
