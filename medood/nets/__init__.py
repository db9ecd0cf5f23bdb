"""Network blocks that two or more detectors share, built on MONAI's own."""
