"""The vocabulary of transforms/*.yaml: one MONAI dictionary transform a file, and the pipeline that composes them."""
