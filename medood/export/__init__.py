"""Score maps as NRRD, NIfTI and PNG, and scenes for 3D Slicer."""
