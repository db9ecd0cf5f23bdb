"""Folders of images, without a detector."""
