"""What a run found in a DICOM series, as DICOM objects that an archive and its viewers take."""
