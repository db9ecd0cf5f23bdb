"""The trainer, its handlers, its data and its checkpoints; the only user of Ignite."""
