"""From normal images to a run."""
