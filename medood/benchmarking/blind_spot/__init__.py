"""What a run says of normal images that were given a lesion, or made images of another kind."""
