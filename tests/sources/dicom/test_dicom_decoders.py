"""Every transfer syntax that can be decoded, against its uncompressed twin; and what happens when decoding fails."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_writer import image_dataset, save, write_image, write_series
from pydicom.encaps import encapsulate

from medood.core.errors import InputError
from medood.core.volume import Volume
from medood.sources.dicom.decoding import frames as decoding_frames
from medood.sources.dicom.decoding import libraries, process
from medood.sources.dicom.dicom import Dicom

ROWS, COLUMNS = np.mgrid[:48, :40]
SMOOTH = np.stack([2000 + 1500 * np.sin(ROWS / (9 + k)) * np.cos(COLUMNS / 7) for k in range(3)])
LOSSLESS = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big endian": "1.2.840.10008.1.2.2",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG lossless .57": "1.2.840.10008.1.2.4.57",
    "JPEG lossless .70": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}
COMPRESSED = {name: syntax for name, syntax in LOSSLESS.items() if pydicom.uid.UID(syntax).is_encapsulated}

# 32 x 32 samples (97 row + 31 column) mod 4096, encoded by OpenJPH
HTJ2K = (
    "/0//UQApQAAAAAAgAAAAIAAAAAAAAAAAAAAAIAAAACAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwAB"
    "T3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAMIAAf+TwAAm2fYFB3QAwAATQAATAGz8Aod0ANr9Awd0AMAAE8AAE4A2bPwCAnQA7Gb3AKNUAMAAFTAABVgaGhoaqnGC"
    "dQB006VL98BCAey2AMAAFfAABaQKhUKhUCgU58p6enECeACyZWVlZWVlZf2MYHv2MYHsugDAAC14AAXQgJxzzjnnnHPOOef5/wp6enp6enpwAn0AwEAgEAgEAoFAIBAI"
    "BAL/eGCEB79iEB79iEB79iEB7LMB/9k="
)
# 32 x 32 samples 2000 + 1500 sin(row / 7) cos(column / 9), 12 bits, quality 95, encoded by libjpeg-turbo
JPEG_12_BIT = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkKCgr/wQALDAAg"
    "ACABAREA/8QAFwABAQEBAAAAAAAAAAAAAAAACwwNCv/EACoQAAADBQgCAwEBAAAAAAAAAAECAwQFBgcIAAkKCxESE1EMUhQxQRZh/9oACAEBAAA/AKMfEBeIvUNXY1Oz"
    "5mo57u1zMB2BgUWBQsLELptKI+lhcM0QwL0uMHRCkfvqApVM8NjDKTSYgoMQJbeMDdAHVpz3MYc8PqMwqc042gyCqp3hD5YeaWhMhUXyZLbsEQ/DB1Y4SevmQ9fEuKlF"
    "pSpXlD7ImR4ihxhFh/bT3tvDGYW163EL6u4Y0Qg17wWK4w+0beE6GuvGPVolvyoqZtNMwZTVBlkAu7zmOyvPh+CJej6fVs3G8kcpqvIo5qtnipJFhiA6Z3m8eL4ZVPrc"
    "fT6tNWV53fGIDWvNGxdjc8ccH9EbTQi+mnJbcSb3XzG2li9Ok28pTO28ldjed4Mh0ATLFhTa7g097Gd467HwwXjTXBFzjhObaMTjFJFykBJtBbfya9CPdhocZfkO05cW"
    "3HsURtDNJrXEQRGusoU6blFXdyCI+o924vZq+FP1ZzMnWpOFO7DehyqNgr8n8gcf3X0sLBhCfJXL1SvysqGpeRJW5ErWm2PZJIxFIhVNqAnAPa1NfkQmLsnVifI/lE6p"
    "tTFbH8V/rsJVQamoVN28S9iPdrPHJh8pSoxxE0hJXxTM6nl0Pk77YWM6hmh1kU3bylH9D/bNP0p+L13SUc0Ss8yGihKFzqnc4K7xhxLXXZr6W//Z"
)


def read(root: Path) -> Volume:
    source = Dicom(root)
    index = source.index()
    assert len(index.entries) == 1, index.problems
    return source.read(index.entries[0])


@pytest.mark.parametrize("kind", ["u8", "u12", "u16", "i16", "rgb"])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_syntaxes_equal_their_uncompressed_twin(tmp_path: Path, syntax: str, kind: str) -> None:
    values, bits = {
        "u8": ((SMOOTH / 16).astype(np.uint8), 8),
        "u12": (SMOOTH.astype(np.uint16), 12),
        "u16": ((SMOOTH * 16).astype(np.uint16), 16),
        "i16": ((SMOOTH * 16 - 32000).astype(np.int16), 16),
        "rgb": ((np.stack([SMOOTH, SMOOTH[::-1], 4095 - SMOOTH], axis=-1) / 16).astype(np.uint8), 8),
    }[kind]
    write_series(tmp_path, values, np.diag([-1.0, -1.0, 2.0, 1.0]), syntax=LOSSLESS[syntax], bits=bits)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image, values.transpose(3, 0, 1, 2) if kind == "rgb" else values[None])
    assert volume.issues == ()


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_frames_of_a_cine_come_one_by_one(tmp_path: Path, syntax: str) -> None:
    values = (SMOOTH / 16).astype(np.uint8)
    write_image(tmp_path / "cine", values, modality="US", frames=True, syntax=LOSSLESS[syntax])
    volume = read(tmp_path)
    assert volume.entry.id == "cine"
    assert volume.entry.slices == 3
    assert not volume.geometry.in_patient
    np.testing.assert_array_equal(volume.image[0], values)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.81"])
def test_lossy_syntaxes_come_near_their_twin(tmp_path: Path, syntax: str, colour: bool) -> None:
    grey = (SMOOTH[0] / 16).astype(np.uint8)
    values = np.stack([grey, grey // 2, 255 - grey], axis=-1) if colour else grey
    if syntax.endswith("81"):
        dataset = image_dataset(values)
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.compress(syntax, jls_error=2)
        dataset.save_as(tmp_path / "image", enforce_file_format=True)
    else:
        write_image(tmp_path / "image", values, syntax=syntax)
    image = read(tmp_path).image[:, 0]
    difference = np.abs(image - (values.transpose(2, 0, 1) if colour else values[None]))
    assert 0 < difference.max() <= 8
    assert difference.mean() < 2


def encapsulated(path: Path, codestream: bytes, syntax: str, bits: int) -> None:
    dataset = image_dataset(np.zeros((32, 32), np.uint16), bits=bits)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)


@pytest.mark.parametrize("number", [201, 202, 203])
def test_high_throughput_jpeg_2000(tmp_path: Path, number: int) -> None:
    encapsulated(tmp_path / "image", base64.b64decode(HTJ2K), f"1.2.840.10008.1.2.4.{number}", 16)
    rows, columns = np.mgrid[:32, :32]
    np.testing.assert_array_equal(read(tmp_path).image[0, 0], (97 * rows + 31 * columns) % 4096)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_jpeg_of_12_bits_is_left_to_simpleitk(tmp_path: Path, photometric: str) -> None:
    """SimpleITK would rescale, and invert MONOCHROME1; both must be done once, and by the same rule as everywhere."""
    codestream = base64.b64decode(JPEG_12_BIT)
    encapsulated(tmp_path / "image", codestream, "1.2.840.10008.1.2.4.51", 12)
    dataset = pydicom.dcmread(tmp_path / "image")
    dataset.PhotometricInterpretation, dataset.RescaleSlope, dataset.RescaleIntercept = photometric, 2, -1000
    dataset.save_as(tmp_path / "image")
    rows, columns = np.mgrid[:32, :32]
    stored = 2000 + 1500 * np.sin(rows / 7) * np.cos(columns / 9)
    truth = 2 * (stored if photometric == "MONOCHROME2" else 4095 - stored) - 1000
    volume = read(tmp_path)
    assert np.abs(volume.image[0, 0] - truth).max() < 10
    assert volume.issues == ()


def test_the_table_says_what_is_installed() -> None:
    decoders = decoding_frames.installed_decoders()
    assert decoders["Explicit VR Little Endian"] == ("pydicom",)
    assert decoders["JPEG Baseline (Process 1)"][0] == "pillow"
    assert decoders["JPEG-LS Lossless Image Compression"][0] == "pyjpegls"
    assert decoders["RLE Lossless"][0] == "pylibjpeg"
    assert len(decoders) == 16


def test_the_next_decoder_takes_over_when_one_fails_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = SMOOTH[0].astype(np.uint16)
    write_image(tmp_path / "image", values, syntax=LOSSLESS["JPEG-LS"], bits=12)
    asked = []
    decode_apart = decoding_frames.decode_apart

    def failing(library: str, *frame: Any) -> Any:
        asked.append(library)
        if library == "pyjpegls":
            raise process.DecoderFailed("ZeroDivisionError")
        return decode_apart(library, *frame)

    monkeypatch.setattr(decoding_frames, "decode_apart", failing)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image[0, 0], values)
    assert asked == ["pyjpegls", "gdcm"]
    assert volume.issues == ("decoder_warning:pyjpegls",)


def test_the_preferred_decoder_is_the_one_that_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone, pydicom takes the first plugin that it happens to know: GDCM."""
    values = SMOOTH[0].astype(np.uint16)
    write_image(tmp_path / "image", values, syntax=LOSSLESS["JPEG-LS"], bits=12)
    used = []
    available = pydicom.pixels.get_decoder(LOSSLESS["JPEG-LS"])._available
    for name, function in available.items():
        monkeypatch.setitem(available, name, lambda *given, name=name, function=function: used.append(name) or function(*given))
    monkeypatch.setattr(decoding_frames, "decode_apart", lambda *frame: (*libraries.decode(*frame), False))
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image[0, 0], values)
    assert used == ["pyjpegls"]
    assert volume.issues == ()


@pytest.mark.parametrize("left", [0.98, 0.5])
@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_file_cut_off_in_its_pixels_is_never_half_an_image(tmp_path: Path, syntax: str, left: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    write_image(tmp_path / "image", pixels, syntax=COMPRESSED[syntax], bits=12)
    content = (tmp_path / "image").read_bytes()
    (tmp_path / "image").write_bytes(content[: int(left * len(content))])
    with pytest.raises(InputError, match="cut off") as caught:
        read(tmp_path)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_damaged_codestream_in_a_whole_file_is_refused(tmp_path: Path, syntax: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    write_image(tmp_path / "image", pixels, syntax=COMPRESSED[syntax], bits=12)
    dataset = pydicom.dcmread(tmp_path / "image")
    frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: len(frame) // 4 * 2]])
    dataset.save_as(tmp_path / "image")
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert caught.value.code.startswith("pixel_decode:")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.113619.5.2"])
def test_a_syntax_without_decoder_is_a_problem_of_the_index(tmp_path: Path, syntax: str) -> None:
    encapsulated(tmp_path / "image", b"\0" * 100, syntax, 16)
    index = Dicom(tmp_path).index()
    assert index.entries == ()
    assert [problem.code for problem in index.problems] == ["pixel_decode:NoDecoder"]


def test_a_folder_called_dl_does_no_harm(tmp_path: Path) -> None:
    """A folder `dl` in the working directory makes `import gdcm`, and with it `import pydicom`, fail."""
    (tmp_path / "dl").mkdir()
    code = "from medood.sources.dicom.decoding.frames import installed_decoders; import sys; assert 'dl' not in sys.modules; "
    code += "print(installed_decoders())"
    environment = {"PYTHONPATH": str(Path(decoding_frames.__file__).parents[4]), "PATH": "", "SYSTEMROOT": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gdcm" in done.stdout


def test_the_writer_of_these_tests_leaves_the_pixels_alone(tmp_path: Path) -> None:
    save(image_dataset(SMOOTH[0].astype(np.uint16)), tmp_path / "image", LOSSLESS["RLE"])
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "image").pixel_array, SMOOTH[0].astype(np.uint16))
