"""One compressed frame decoded by one library."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np

from medood.sources.dicom.decoding.codestream import codestream_of
from medood.sources.dicom.layout import Layout
from medood.sources.dicom.library import pydicom

SIMPLEITK = "SimpleITK"
PILLOW = "pillow"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")


def decode(library: str, frame: bytes, layout: Layout, syntax: str) -> tuple[np.ndarray, str]:
    """Stored values of one frame, and the photometric interpretation that they now have.

    The values are (rows, columns) or (rows, columns, samples), signs and unused bits set right. Codecs undo their own colour transform,
    and YBR_FULL and YBR_FULL_422 become RGB. Raises whatever the library raises, panics that are no Exception included.
    """
    if library == SIMPLEITK:
        return _decode_with_simpleitk(frame, layout, syntax), layout.photometric
    if library == PILLOW and syntax in _JPEG:
        return _decode_jpeg(frame, layout)
    options = layout.options() | {"number_of_frames": 1, "decoding_plugin": library}
    source = pydicom.encaps.encapsulate([frame])
    values, properties = pydicom.pixels.get_decoder(syntax).as_array(source, index=0, validate=False, **options)
    return values, str(properties["photometric_interpretation"])


def _decode_jpeg(frame: bytes, layout: Layout) -> tuple[np.ndarray, str]:
    """JPEG of 8 bits. Where the codestream is silent about its colours, libjpeg takes them for YCbCr, but the header may know better."""
    from PIL import Image

    image = Image.open(io.BytesIO(frame), formats=("JPEG",))
    if layout.samples == 1:
        return np.asarray(image).astype(np.uint8, copy=False), layout.photometric
    stream = codestream_of(frame)
    if layout.photometric == "RGB" and (stream is None or stream.ycc is not False):
        image.draft("YCbCr", image.size)  # the components as they are
    return np.asarray(image), "RGB"


def _decode_with_simpleitk(frame: bytes, layout: Layout, syntax: str) -> np.ndarray:
    """Stored values (rows, columns) of one grey frame.

    ITK reads files only, and would rescale, invert and keep what it reads in the header. It is therefore given a file of its own that
    holds this frame as a secondary capture and nothing else: the pixels and their description, no person, no rescale, MONOCHROME2. It is
    the decoder of last resort: it reads JPEG of 12 bits and codestreams that the others refuse.
    """
    import SimpleITK  # slow to import, and rarely needed

    if layout.samples != 1:
        raise ValueError("colour")
    with tempfile.TemporaryDirectory(prefix="medood-") as folder:
        path = str(Path(folder) / "frame.dcm")
        _lone_frame(frame, layout, syntax).save_as(path, enforce_file_format=True)
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(path)
        stored = SimpleITK.GetArrayFromImage(reader.Execute())
    if stored.size != layout.rows * layout.columns:
        raise ValueError("size")
    return stored.reshape(layout.rows, layout.columns)


def _lone_frame(frame: bytes, layout: Layout, syntax: str) -> pydicom.Dataset:
    lone = pydicom.Dataset()
    lone.Rows, lone.Columns, lone.SamplesPerPixel = layout.rows, layout.columns, 1
    lone.BitsAllocated, lone.BitsStored, lone.HighBit = layout.bits_allocated, layout.bits_stored, layout.bits_stored - 1
    lone.PixelRepresentation = int(layout.signed)
    lone.PhotometricInterpretation = "MONOCHROME2"
    lone.PixelData = pydicom.encaps.encapsulate([frame])
    lone["PixelData"].VR = "OB"
    lone.SOPClassUID = _SECONDARY_CAPTURE
    lone.SOPInstanceUID = pydicom.uid.generate_uid()
    lone.file_meta = pydicom.dataset.FileMetaDataset()
    lone.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    return lone
