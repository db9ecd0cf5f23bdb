"""Compressed frames that contradict the header: corrected where they prove it wrong, refused otherwise, never silent."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_writer import image_dataset, write_image
from PIL import Image
from pydicom.encaps import encapsulate

from medood.core.errors import InputError
from medood.core.volume import Volume
from medood.sources.dicom.decoding.codestream import Codestream, codestream_of
from medood.sources.dicom.dicom import Dicom

ROWS, COLUMNS = np.mgrid[:40, :56]
COLOUR = np.stack([170 + 50 * np.cos(ROWS / 8), 80 + 40 * np.sin(COLUMNS / 6), 40 + 2.0 * ROWS], axis=-1).astype(np.uint8)
BASELINE = "1.2.840.10008.1.2.4.50"
SOF, SOS = b"\xff\xc0", b"\xff\xda"


def jpeg(pixels: np.ndarray, subsampling: int = 0, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, "JPEG", quality=97, subsampling=subsampling)
    return file.getvalue()


def bare(stream: bytes) -> bytes:
    """Without the JFIF marker that Pillow writes."""
    assert stream[2:4] == b"\xff\xe0"
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]


def adobe(stream: bytes, transform: int) -> bytes:
    return stream[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) + stream[2:]


def renamed(stream: bytes, names: bytes) -> bytes:
    """With other names of the three components."""
    content = bytearray(stream)
    for marker, first, step in ((SOF, 10, 3), (SOS, 5, 2)):
        at = content.find(marker)
        content[at + first : at + first + 3 * step : step] = names
    return bytes(content)


def unconverted(pixels: np.ndarray) -> bytes:
    """A stream whose components are red, green and blue themselves: Pillow takes them for YCbCr and leaves them alone."""
    return bare(jpeg(pixels, mode="YCbCr"))


def read(root: Path, stream: bytes, photometric: str, shape: tuple[int, ...] = COLOUR.shape, syntax: str = BASELINE) -> Volume:
    dataset = image_dataset(np.zeros(shape, np.uint8), photometric=photometric, modality="DX")
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(root / "image", enforce_file_format=True)
    source = Dicom(root)
    (entry,) = source.index().entries
    return source.read(entry)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize(
    ("stream", "proves"),
    [
        (jpeg(COLOUR), "YBR"),
        (bare(jpeg(COLOUR, subsampling=1)), "YBR"),
        (bare(jpeg(COLOUR, subsampling=2)), "YBR"),
        (adobe(bare(jpeg(COLOUR)), 1), "YBR"),
        (adobe(unconverted(COLOUR), 0), "RGB"),
        (renamed(unconverted(COLOUR), b"RGB"), "RGB"),
    ],
    ids=["JFIF", "half", "quarter", "Adobe 1", "Adobe 0", "components R G B"],
)
def test_colours_that_the_stream_proves(tmp_path: Path, stream: bytes, proves: str, photometric: str) -> None:
    volume = read(tmp_path, stream, photometric)
    assert volume.issues == (() if photometric.startswith(proves) else ("colour_space_corrected",))
    assert np.abs(volume.image[:, 0] - COLOUR.transpose(2, 0, 1)).mean() < 3


@pytest.mark.parametrize(("stream", "photometric"), [(bare(jpeg(COLOUR)), "YBR_FULL_422"), (unconverted(COLOUR), "RGB")])
def test_colours_of_a_stream_that_says_nothing_are_what_the_header_says(tmp_path: Path, stream: bytes, photometric: str) -> None:
    volume = read(tmp_path, stream, photometric)
    assert volume.issues == ()
    assert np.abs(volume.image[:, 0] - COLOUR.transpose(2, 0, 1)).mean() < 3


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((56, 40, 3), "Rows is 56, but the compressed image has 40"),
        ((40, 28, 3), "Columns is 28, but the compressed image has 56"),
        ((40, 56), "SamplesPerPixel is 1, but the compressed image has 3"),
    ],
)
def test_a_size_that_the_stream_contradicts_is_named(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, jpeg(COLOUR), "RGB" if len(shape) == 3 else "MONOCHROME2", shape)
    assert "damaged" not in str(caught.value)


def test_one_pixel_does_not_fill_an_image(tmp_path: Path) -> None:
    """numpy would spread a single decoded value over the whole frame."""
    with pytest.raises(InputError, match="Rows is 40, but the compressed image has 1"):
        read(tmp_path, jpeg(COLOUR[:1, :1, 0]), "MONOCHROME2", (40, 56))


@pytest.mark.parametrize("syntax", [f"1.2.840.10008.1.2.4.{number}" for number in (50, 57, 70, 80, 90)])
def test_a_codestream_says_how_large_and_deep_it_is(tmp_path: Path, syntax: str) -> None:
    write_image(tmp_path / "image", COLOUR[..., 0], syntax=syntax)
    frame = pydicom.encaps.get_frame(pydicom.dcmread(tmp_path / "image").PixelData, 0, number_of_frames=1)
    assert codestream_of(frame) == Codestream(rows=40, columns=56, components=1, precision=8)
    assert all(codestream_of(frame[:end]) is None for end in range(10))


def test_more_pixels_than_runs_can_hold_are_not_even_tried(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image", COLOUR[..., 0], syntax="1.2.840.10008.1.2.5")
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 60000
    dataset.save_as(path)
    source = Dicom(tmp_path)
    (entry,) = source.index().entries
    with pytest.raises(InputError, match="Rows and Columns promise more pixels than the compressed image can hold"):
        source.read(entry)


def test_fewer_frames_than_promised_are_counted(tmp_path: Path) -> None:
    path = write_image(tmp_path / "cine", np.stack([COLOUR[..., 0]] * 3), frames=True, modality="US", syntax="1.2.840.10008.1.2.5")
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 4
    dataset.save_as(path)
    source = Dicom(tmp_path)
    (entry,) = source.index().entries
    with pytest.raises(InputError, match="it holds 3 of 4 frames") as caught:
        source.read(entry)
    assert caught.value.code == "truncated"
