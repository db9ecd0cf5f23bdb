"""Archives: whom results go to and studies are fetched from, by DICOMweb and by C-STORE."""
