"""Images as networks are shown them: changed, pasted into, cut into tiles."""
