"""One detector, one file, found by its file name."""
