"""Headers that leave out or contradict what decoding needs: filled in where only one value makes sense, else named by the index."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_writer import write_image

from medood.core.volume import Volume
from medood.sources.dicom.dicom import Dicom

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 200, (10, 12)).astype(np.uint8)
DEEP = RNG.integers(0, 4000, (10, 12)).astype(np.uint16)
COLOUR = RNG.integers(0, 200, (10, 12, 3)).astype(np.uint8)
JPEG_LS = "1.2.840.10008.1.2.4.80"


def changed(path: Path, **elements: Any) -> None:
    """Sets elements of a file as they are, or deletes them where the value is None."""
    dataset = pydicom.dcmread(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that are no proper ones
        for keyword, value in elements.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(path)


def read(root: Path) -> Volume:
    source = Dicom(root)
    (entry,) = source.index().entries
    return source.read(entry)


@pytest.mark.parametrize(
    ("pixels", "elements", "issue"),
    [
        (GREY, {"PhotometricInterpretation": None}, "photometric_interpretation_assumed"),
        (DEEP, {"PhotometricInterpretation": ""}, "photometric_interpretation_assumed"),
        (COLOUR, {"PlanarConfiguration": None}, "planar_configuration_assumed"),
        (COLOUR, {"SamplesPerPixel": None}, "samples_per_pixel_assumed"),
        (GREY, {"PixelRepresentation": None}, "pixel_representation_assumed"),
        (COLOUR, {"PixelRepresentation": None}, "pixel_representation_assumed"),
        (GREY, {"BitsStored": None, "HighBit": None}, "bits_stored_assumed"),
        (DEEP, {"BitsStored": None}, "bits_stored_assumed"),
        (DEEP, {"HighBit": 11}, "high_bit_ignored"),
    ],
)
def test_what_is_missing_is_filled_in_where_only_one_value_makes_sense_and_that_is_said(
    tmp_path: Path, pixels: np.ndarray, elements: dict[str, Any], issue: str
) -> None:
    changed(write_image(tmp_path / "image", pixels, modality="DX"), **elements)
    volume = read(tmp_path)
    assert volume.entry.issues == (issue,)
    np.testing.assert_array_equal(volume.image[:, 0], pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("elements", [{"PhotometricInterpretation": "monochrome2"}, {"PhotometricInterpretation": "MONOCHROME 2"}])
def test_the_spelling_of_a_colour_space_does_not_matter(tmp_path: Path, elements: dict[str, Any]) -> None:
    changed(write_image(tmp_path / "image", GREY, modality="DX"), **elements)
    assert read(tmp_path).entry.issues == ()


@pytest.mark.parametrize(
    ("pixels", "elements", "message"),
    [
        (COLOUR, {"PhotometricInterpretation": "YBR_FULL_422"}, "PhotometricInterpretation is YBR_FULL_422, which takes two bytes a pixel"),
        (COLOUR, {"PhotometricInterpretation": None}, "PhotometricInterpretation is missing: the colours may be RGB or YBR_FULL"),
        (GREY, {"PhotometricInterpretation": "PALETTE COLOR"}, "RedPaletteColorLookupTableDescriptor is missing"),
        (GREY, {"SamplesPerPixel": 3}, "SamplesPerPixel is 3, which contradicts a PhotometricInterpretation of MONOCHROME2"),
        (COLOUR, {"SamplesPerPixel": 4}, "SamplesPerPixel is 4; supported are 1 and 3"),
        (DEEP, {"PixelRepresentation": None}, "PixelRepresentation is missing: the pixels may be signed or unsigned"),
        (DEEP, {"PixelRepresentation": 7}, "PixelRepresentation is 7; it must be 0 or 1"),
        (DEEP, {"BitsStored": 17}, "BitsStored is 17, but BitsAllocated is 16"),
        (DEEP, {"BitsStored": None, "HighBit": None}, "BitsStored is missing"),
        (DEEP, {"BitsAllocated": 12}, "BitsAllocated is 12; supported are 1, 8, 16, 32 and 64"),
        (DEEP, {"Rows": None}, "Rows is missing"),
        (COLOUR, {"PlanarConfiguration": 2}, "PlanarConfiguration is 2; it must be 0 or 1"),
        (GREY, {"Rows": 5}, "PixelData holds 2 times the bytes that Rows"),
        (DEEP, {"BitsAllocated": 8, "BitsStored": 8}, "PixelData holds 2 times the bytes that Rows"),
    ],
)
def test_an_element_that_makes_decoding_impossible_is_named_by_the_index(
    tmp_path: Path, pixels: np.ndarray, elements: dict[str, Any], message: str
) -> None:
    changed(write_image(tmp_path / "image", pixels), **elements)
    index = Dicom(tmp_path).index()
    assert index.entries == ()
    (problem,) = index.problems
    assert problem.code == "unreadable"
    assert problem.message.startswith(f"The header's {message}")
    assert "damaged" not in problem.message


def test_a_word_that_is_no_colour_space_is_not_repeated(tmp_path: Path) -> None:
    changed(write_image(tmp_path / "image", GREY), PhotometricInterpretation="SECRET NAME")
    (problem,) = Dicom(tmp_path).index().problems
    assert "PhotometricInterpretation is none of MONOCHROME1, " in problem.message
    assert "SECRET" not in problem.message


def test_bytes_beyond_the_pixels_are_ignored_and_said(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image", GREY, modality="DX")
    changed(path, PixelData=GREY.tobytes() + bytes(40))
    volume = read(tmp_path)
    assert volume.entry.issues == ("excess_pixel_data",)
    np.testing.assert_array_equal(volume.image[0, 0], GREY)


def test_half_colours_have_their_own_length(tmp_path: Path) -> None:
    """YBR_FULL_422 as it should be: two luminances, then one pair of colours for both."""
    quads = np.array([[[100, 110, 128, 128], [60, 70, 90, 200]]] * 2, np.uint8)
    path = write_image(tmp_path / "image", np.zeros((2, 4, 3), np.uint8), photometric="YBR_FULL_422")
    changed(path, PixelData=quads.tobytes())
    image = read(tmp_path).image[:, 0, 0]
    np.testing.assert_array_equal(image[:, :2], [[100, 110]] * 3)
    luminance, blue, red = np.array([60, 70]), 90 - 128, 200 - 128
    colours = [luminance + 1.402 * red, luminance - 0.344136 * blue - 0.714136 * red, luminance + 1.772 * blue]
    assert np.abs(image[:, 2:] - np.clip(colours, 0, 255)).max() <= 1


def test_a_transfer_syntax_that_contradicts_the_pixels_is_named(tmp_path: Path) -> None:
    content = write_image(tmp_path / "native", DEEP).read_bytes()
    (tmp_path / "native").write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1))
    content = write_image(tmp_path / "compressed", DEEP, syntax=JPEG_LS).read_bytes()
    (tmp_path / "compressed").write_bytes(content.replace(JPEG_LS.encode(), b"1.2.840.10008.1.2.1\0\0\0", 1))
    messages = {problem.path: problem.message for problem in Dicom(tmp_path).index().problems}
    assert messages["compressed"].startswith("The header's TransferSyntaxUID says that the pixels are not compressed, but")
    assert messages["native"].startswith("The header's TransferSyntaxUID says that the pixels are compressed, but")


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"])
def test_numbers_beyond_all_measure_make_no_sense(tmp_path: Path, keyword: str) -> None:
    extra = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0], "PixelSpacing": [1, 1]}
    value = ["9e35"] * {"ImagePositionPatient": 3, "PixelSpacing": 2}.get(keyword, 1)
    write_image(tmp_path / "image", DEEP, modality="CT", extra=extra | {keyword: value})
    (problem,) = Dicom(tmp_path).index().problems
    assert f"{keyword} holds a value that makes no sense" in problem.message
