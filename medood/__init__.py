"""medood: out-of-distribution and anomaly detection for medical images, trained on normal images only."""

__version__ = "0.2.0"
