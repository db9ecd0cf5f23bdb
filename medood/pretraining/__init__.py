"""Networks for features, learned from images without labels."""
