"""Classifiers that users bring, read without running code of theirs."""
