"""What detectors can work on instead of pixels: frozen networks and hand-made features, one file each, found by their file names."""
