"""Public data sets in their publishers' layout."""
