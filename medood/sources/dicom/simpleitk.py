"""The decoder of last resort: SimpleITK reads JPEG of 12 bits and codestreams that the others refuse."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from medood.sources.dicom.library import pydicom

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PIXEL_DESCRIPTION = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")


def decode_with_simpleitk(dataset: pydicom.Dataset, frame: int) -> tuple[np.ndarray, str]:
    """Stored values (rows, columns) of one grey frame.

    ITK reads files only, and would rescale, invert and keep what it reads in the header. It is therefore given a file of its own that
    holds this frame as a secondary capture and nothing else: the pixels and their description, no person, no rescale, MONOCHROME2.
    """
    import SimpleITK  # slow to import, and rarely needed

    if dataset.SamplesPerPixel != 1:
        raise ValueError("colour")
    with tempfile.TemporaryDirectory(prefix="medood-") as folder:
        path = str(Path(folder) / "frame.dcm")
        _lone_frame(dataset, frame).save_as(path, enforce_file_format=True)
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(path)
        stored = SimpleITK.GetArrayFromImage(reader.Execute())
    shape = (dataset.Rows, dataset.Columns)
    if stored.size != shape[0] * shape[1]:
        raise ValueError("size")
    return stored.reshape(shape), dataset.PhotometricInterpretation


def _lone_frame(dataset: pydicom.Dataset, frame: int) -> pydicom.Dataset:
    encoded = pydicom.encaps.get_frame(dataset.PixelData, frame, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    lone = pydicom.Dataset()
    for keyword in _PIXEL_DESCRIPTION:
        setattr(lone, keyword, dataset[keyword].value)
    lone.SamplesPerPixel = 1
    lone.PhotometricInterpretation = "MONOCHROME2"
    lone.PixelData = pydicom.encaps.encapsulate([encoded])
    lone["PixelData"].VR = "OB"
    lone.SOPClassUID = _SECONDARY_CAPTURE
    lone.SOPInstanceUID = pydicom.uid.generate_uid()
    lone.file_meta = pydicom.dataset.FileMetaDataset()
    lone.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return lone
