"""A DICOM node: takes studies from an archive, has them scored, and sends the results back, losing nothing on the way."""
