"""Which detector and preparation suit a folder of normal images: candidates, pasted anomalies, trials, ranking."""
