"""Stored values to physical ones. Truth: twins that must come out equal, formulas of the standard, and pydicom's own processing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_writer import image_dataset, save, write_image, write_series
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.sequence import Sequence

from medood.core.volume import Volume
from medood.sources.dicom.dicom import Dicom

RNG = np.random.default_rng(5)
STORED = RNG.integers(0, 4096, (3, 9, 8)).astype(np.uint16)
GRID = np.diag([-1.0, -1.0, 2.0, 1.0])


def read(root: Path) -> Volume:
    source = Dicom(root)
    index = source.index()
    assert len(index.entries) == 1, index.problems
    return source.read(index.entries[0])


def read_image(path: Path, pixels: np.ndarray, **options: Any) -> Volume:
    path.mkdir()
    write_image(path / "image", pixels, **options)
    return read(path)


def table(first: int, entries: np.ndarray, bits: int = 16, as_bytes: bool = True) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.add_new("LUTData", "OW" if as_bytes else "US", entries.astype(np.uint16).tobytes() if as_bytes else entries.tolist())
    return Sequence([item])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_every_kind_of_number(tmp_path: Path, dtype: str, syntax: str) -> None:
    kind = np.dtype(dtype)
    low, high = (0, 255) if dtype == "uint8" else (-128, 127) if kind.itemsize == 1 else (0, 30000) if kind.kind == "u" else (-30000, 30000)
    pixels = RNG.integers(low, high, (7, 5), endpoint=True).astype(kind) / (1 if kind.kind in "iu" else 7)
    volume = read_image(tmp_path / "a", pixels.astype(kind), syntax=syntax)
    assert volume.image.dtype == np.float32
    np.testing.assert_array_equal(volume.image[0, 0], pixels.astype(kind).astype(np.float32))


def test_unused_bits_are_ignored_and_signs_extended(tmp_path: Path) -> None:
    values = RNG.integers(-2048, 2048, (6, 6)).astype(np.int16)
    junk = ((values.view(np.uint16) & 0x0FFF) | (RNG.integers(0, 16, (6, 6)) << 12).astype(np.uint16)).view(np.int16)
    np.testing.assert_array_equal(read_image(tmp_path / "a", junk, bits=12).image[0, 0], values)


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    slopes, intercepts = [0.1, 1.0, 3.7], [-1024.0, 0.0, 5.5]
    write_series(tmp_path, STORED, GRID, modality="PT", extra=lambda k: {"RescaleSlope": slopes[k], "RescaleIntercept": intercepts[k]})
    volume = read(tmp_path)
    truth = STORED.astype(np.float64) * np.reshape(slopes, (3, 1, 1)) + np.reshape(intercepts, (3, 1, 1))
    np.testing.assert_array_equal(volume.image[0], truth.astype(np.float32))
    assert volume.entry.issues == ("per_slice_rescale",)


def test_one_rescale_for_all_is_not_flagged(tmp_path: Path) -> None:
    write_series(tmp_path, STORED, GRID, extra={"RescaleSlope": 2, "RescaleIntercept": -1024})
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image[0], STORED * 2.0 - 1024)
    assert volume.entry.issues == ()


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
def test_modality_table_goes_before_rescale_and_clamps(tmp_path: Path, as_bytes: bool, syntax: str) -> None:
    entries = RNG.integers(0, 65536, 100)
    pixels = RNG.integers(0, 300, (9, 8)).astype(np.uint16)  # below, within and beyond 80..179
    extra = {"ModalityLUTSequence": table(80, entries, as_bytes=as_bytes), "RescaleSlope": 9, "RescaleIntercept": 9}
    volume = read_image(tmp_path / "a", pixels, modality="CR", syntax=syntax, extra=extra)
    np.testing.assert_array_equal(volume.image[0, 0], entries[np.clip(pixels.astype(int) - 80, 0, 99)])
    np.testing.assert_array_equal(volume.image[0, 0], apply_modality_lut(pixels, pydicom.dcmread(tmp_path / "a" / "image")))


@pytest.mark.parametrize("keyword", ["RescaleSlope", "ModalityLUTSequence"])
def test_a_rescale_that_makes_no_sense_is_refused(tmp_path: Path, keyword: str) -> None:
    short = table(0, np.arange(5))
    short[0].LUTDescriptor = [9, 0, 16]  # promises four entries more than there are
    write_image(tmp_path / "image", STORED[0], extra={keyword: 0 if keyword == "RescaleSlope" else short})
    (problem,) = Dicom(tmp_path).index().problems
    assert problem.code == "unreadable"
    assert f"{keyword} holds a value that makes no sense" in problem.message


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8])
@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": 0.5, "RescaleIntercept": -1000}])
def test_monochrome1_equals_its_monochrome2_twin(tmp_path: Path, dtype: type, rescale: dict[str, float]) -> None:
    """The twin holds the stored values counted down from the highest; it does not matter which values occur in the image."""
    bits = 8 if dtype == np.uint8 else 12
    low = -(2 ** (bits - 1)) if dtype == np.int16 else 0
    pixels = (RNG.integers(10, 200, (6, 7)) + low).astype(dtype)
    twin = (2 * low + 2**bits - 1 - pixels.astype(int)).astype(dtype)
    one = read_image(tmp_path / "1", pixels, modality="DX", bits=bits, photometric="MONOCHROME1", extra=rescale)
    two = read_image(tmp_path / "2", twin, modality="DX", bits=bits, extra=rescale)
    np.testing.assert_array_equal(one.image, two.image)
    assert one.entry.issues == ("monochrome1_inverted",)
    assert two.entry.issues == ()


def test_monochrome1_with_a_modality_table_is_turned_after_the_table(tmp_path: Path) -> None:
    entries = RNG.integers(0, 1024, 4096)
    one = read_image(
        tmp_path / "1", STORED[0], modality="CR", photometric="MONOCHROME1", extra={"ModalityLUTSequence": table(0, entries, bits=10)}
    )
    np.testing.assert_array_equal(one.image[0, 0], 1023 - entries[STORED[0]])


def shown(values: np.ndarray, volume: Volume) -> np.ndarray:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3.2, to 0..1, written down anew."""
    voi = volume.voi[0]
    if voi.lut is not None:
        return voi.lut[np.clip(np.rint(values).astype(int) - voi.first, 0, len(voi.lut) - 1)]
    c, w, x = voi.centre, voi.width, values.astype(np.float64)
    if voi.function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (x - c) / w))
    if voi.function == "LINEAR_EXACT":
        return np.clip((x - c) / w + 0.5, 0, 1)
    return np.clip((x - (c - 0.5)) / (w - 1) + 0.5, 0, 1)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_window_of_monochrome1_shows_the_opposite_of_what_the_file_would_show_as_monochrome2(tmp_path: Path, function: str) -> None:
    extra = {"WindowCenter": 700, "WindowWidth": 900, "VOILUTFunction": function, "RescaleSlope": 0.5, "RescaleIntercept": -100}
    one = read_image(tmp_path / "1", STORED[0], modality="DX", bits=12, photometric="MONOCHROME1", extra=extra)
    dataset = pydicom.dcmread(tmp_path / "1" / "image")
    values = apply_modality_lut(STORED[0], dataset)
    low, high = -100, 4095 / 2 - 100
    expected = 1 - (apply_windowing(values, dataset) - low) / (high - low)
    np.testing.assert_allclose(shown(one.image[0, 0], one), expected, atol=1e-5)


def test_the_table_of_monochrome1_shows_the_opposite_too(tmp_path: Path) -> None:
    entries = np.sort(RNG.integers(0, 4096, 4096))
    entries[0], entries[-1] = 0, 4095
    extra = {"VOILUTSequence": table(0, entries, bits=12)}
    one = read_image(tmp_path / "1", STORED[0], modality="DX", bits=12, photometric="MONOCHROME1", extra=extra)
    expected = 4095 - apply_voi_lut(STORED[0], pydicom.dcmread(tmp_path / "1" / "image")).astype(float)
    np.testing.assert_array_equal(shown(one.image[0, 0], one), expected)


def test_the_first_window_is_kept_for_each_slice_and_not_applied(tmp_path: Path) -> None:
    write_series(tmp_path, STORED, GRID, extra=lambda k: {"WindowCenter": [40 + k, 9], "WindowWidth": [400, 9]})
    volume = read(tmp_path)
    assert [(voi.centre, voi.width, voi.function, voi.lut) for voi in volume.voi] == [(40.0 + k, 400.0, "LINEAR", None) for k in range(3)]
    np.testing.assert_array_equal(volume.image[0], STORED)


def test_a_table_goes_before_a_window(tmp_path: Path) -> None:
    entries = np.arange(50) * 3
    extra = {"VOILUTSequence": table(-20, entries), "WindowCenter": 1, "WindowWidth": 2, "RescaleSlope": 1, "RescaleIntercept": -30}
    (voi,) = read_image(tmp_path / "a", STORED[0], modality="DX", extra=extra).voi
    assert voi.first == -20
    np.testing.assert_array_equal(voi.lut, entries)


def test_the_first_value_of_a_table_may_be_a_negative_number_in_disguise(tmp_path: Path) -> None:
    for name, intercept, first in (("signed", -1024, -1000), ("unsigned", 0, 64536)):
        extra = {"VOILUTSequence": table(64536, np.arange(9)), "RescaleSlope": 1, "RescaleIntercept": intercept}
        (voi,) = read_image(tmp_path / name, STORED[0], extra=extra).voi
        assert voi.first == first


@pytest.mark.parametrize("extra", [{}, {"WindowCenter": 5, "WindowWidth": 0}, {"WindowCenter": 5}])
def test_without_a_window_that_makes_sense_there_is_none(tmp_path: Path, extra: dict[str, Any]) -> None:
    assert read_image(tmp_path / "a", STORED[0], extra=extra).voi is None


def test_padding_is_marked_and_filled_with_the_smallest_value_recorded(tmp_path: Path) -> None:
    pixels = RNG.integers(-900, 1000, (2, 8, 8)).astype(np.int16)
    pixels[0, :3] = -2000
    truth = np.where(pixels == -2000, pixels[pixels != -2000].min(), pixels) * 2.0 - 10
    write_series(tmp_path, pixels, GRID, extra={"PixelPaddingValue": -2000, "RescaleSlope": 2, "RescaleIntercept": -10})
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.padding, pixels == -2000)
    np.testing.assert_array_equal(volume.image[0], truth)
    assert volume.issues == ("padding_voxels:24",)


def test_padding_may_be_a_range_and_in_disguise(tmp_path: Path) -> None:
    pixels = np.array([[-2000, -1999], [-1990, -1500], [-1989, 7]], np.int16)
    dataset = image_dataset(pixels, modality="OT")
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)  # the writer took US for SS
    dataset.add_new("PixelPaddingRangeLimit", "US", 65536 - 1990)
    save(dataset, tmp_path / "image")
    np.testing.assert_array_equal(read(tmp_path).padding[0], [[True, True], [True, False], [False, False]])


def test_padding_of_monochrome1_is_dark(tmp_path: Path) -> None:
    pixels = STORED[0].copy()
    pixels[0] = 0  # white, were it not padding
    volume = read_image(tmp_path / "a", pixels, modality="DX", bits=12, photometric="MONOCHROME1", extra={"PixelPaddingValue": 0})
    lowest = 4095 - pixels[1:].max()
    assert (volume.image[0, 0, 0] == lowest).all()
    assert volume.image.min() == lowest


def test_a_padding_value_that_does_not_occur_leaves_no_mask(tmp_path: Path) -> None:
    volume = read_image(tmp_path / "a", STORED[0] % 4000 + 1, extra={"PixelPaddingValue": 0})
    assert volume.padding is None
    assert volume.issues == ()


def test_an_image_of_padding_alone_is_zero(tmp_path: Path) -> None:
    volume = read_image(tmp_path / "a", np.full((4, 4), 7, np.uint16), extra={"PixelPaddingValue": 7})
    assert volume.padding.all()
    assert (volume.image == 0).all()


def test_numbers_that_are_none_count_as_padding(tmp_path: Path) -> None:
    pixels = RNG.normal(size=(5, 5)).astype(np.float64)
    pixels[0, 0], pixels[1, 1], pixels[2, 2], pixels[3, 3] = np.nan, np.inf, 1e300, -99.0
    volume = read_image(tmp_path / "a", pixels, extra={"DoubleFloatPixelPaddingValue": -99.0})
    assert sorted(map(tuple, np.argwhere(volume.padding[0]).tolist())) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert np.isfinite(volume.image).all()


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rgb_comes_out_as_0_to_255(tmp_path: Path, planar: int, dtype: type) -> None:
    pixels = RNG.integers(0, np.iinfo(dtype).max, (6, 5, 3), endpoint=True).astype(dtype)
    pixels[0, 0] = np.iinfo(dtype).max
    dataset = image_dataset(pixels, modality="XC")
    if planar:
        dataset.PlanarConfiguration, dataset.PixelData = 1, np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
    save(dataset, tmp_path / "image")
    volume = read(tmp_path)
    np.testing.assert_allclose(volume.image[:, 0], pixels.transpose(2, 0, 1) * (255 / np.iinfo(dtype).max), rtol=1e-6)
    assert volume.image.max() == 255
    assert volume.entry.issues == ("burned_in",)  # nobody said that there is no text in the picture


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    ybr = np.array([[[76, 85, 255], [150, 44, 21], [29, 255, 107], [128, 128, 128]]], np.uint8)  # red, green, blue, grey (JFIF)
    volume = read_image(tmp_path / "a", ybr, modality="US", photometric="YBR_FULL")
    expected = [[254, 0, 0], [0, 255, 1], [0, 0, 254], [128, 128, 128]]
    np.testing.assert_allclose(volume.image[:, 0, 0].T, expected, atol=1)


@pytest.mark.parametrize(
    ("dtype", "photometric", "wrong"),
    [
        (np.uint16, "YBR_FULL", "BitsAllocated is 16"),
        (np.uint8, "HSV", "PhotometricInterpretation is none of"),
        (np.uint8, "YBR_PARTIAL_422", "PhotometricInterpretation is none of"),
        (np.uint8, "YBR_RCT", "PhotometricInterpretation is YBR_RCT, which only JPEG 2000 can hold"),
        (np.uint8, "PALETTE COLOR", "SamplesPerPixel is 3"),
        (np.int16, "RGB", "PixelRepresentation says that the colours are signed"),
    ],
)
def test_colour_that_would_come_out_wrong_is_refused(tmp_path: Path, dtype: type, photometric: str, wrong: str) -> None:
    write_image(tmp_path / "image", RNG.integers(0, 99, (4, 4, 3)).astype(dtype), photometric=photometric)
    index = Dicom(tmp_path).index()
    assert index.entries == ()
    assert f"The header's {wrong}" in index.problems[0].message


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_palette_colour_becomes_rgb(tmp_path: Path, bits: int, dtype: type, syntax: str) -> None:
    """The palette has more than 256 entries: with 8-bit entries pydicom's own lookup wraps around there."""
    palette = RNG.integers(0, 2**bits, (1000, 3)).astype(dtype)
    pixels = RNG.integers(0, 1200, (8, 9)).astype(np.uint16)
    dataset = image_dataset(pixels, modality="US", photometric="PALETTE COLOR")
    for channel, name in enumerate(("Red", "Green", "Blue")):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [1000, 100, bits])
        content = palette[:, channel].astype(f">u{bits // 8}" if syntax.endswith(".2.2") else f"<u{bits // 8}").tobytes()
        setattr(dataset, f"{name}PaletteColorLookupTableData", content)
    save(dataset, tmp_path / "image", syntax)
    expected = palette[np.clip(pixels.astype(int) - 100, 0, 999)] * (255 / (2**bits - 1))
    np.testing.assert_allclose(read(tmp_path).image[:, 0], expected.transpose(2, 0, 1), rtol=1e-6)


def test_segmented_palette_agrees_with_pydicom(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    dataset = image_dataset(pixels, modality="US", photometric="PALETTE COLOR")
    for k, name in enumerate(("Red", "Green", "Blue")):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        segments = np.array([0, 1, 10 * k, 1, 255, 60000 - 9 * k], "<u2")  # one value, then a straight line
        setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", segments.tobytes())
    save(dataset, tmp_path / "image")
    expected = apply_color_lut(pixels, pydicom.dcmread(tmp_path / "image")) * (255 / 65535)
    np.testing.assert_allclose(read(tmp_path).image[:, 0], expected.transpose(2, 0, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("extra", "spacing", "known", "issues"),
    [
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.4, 0.3]}, (0.1, 0.2), True, ()),
        ({"ImagerPixelSpacing": [0.4, 0.3]}, (0.3, 0.4), False, ("imager_spacing_used",)),
        ({"NominalScannedPixelSpacing": [0.4, 0.3]}, (0.3, 0.4), False, ("imager_spacing_used",)),
        ({"PixelSpacing": ""}, (1.0, 1.0), False, ()),
        ({"PixelSpacing": [0, 0]}, (1.0, 1.0), False, ()),
    ],
)
def test_the_pixel_size_of_a_radiograph(tmp_path: Path, extra: dict, spacing: tuple, known: bool, issues: tuple) -> None:
    volume = read_image(tmp_path / "a", STORED[0], modality="DX", extra=extra)
    assert volume.geometry.spacing == (*spacing, 1.0)
    assert (volume.geometry.spacing_known, volume.geometry.in_patient) == (known, False)
    assert volume.entry.issues == issues
    np.testing.assert_allclose(volume.geometry.world((0, 2, 3)), [-3 * spacing[0], -2 * spacing[1], 0])


@pytest.mark.parametrize(
    ("modality", "extra", "issues"),
    [
        ("DX", {"BurnedInAnnotation": "YES"}, ("burned_in",)),
        ("US", {}, ("burned_in",)),
        ("US", {"BurnedInAnnotation": "NO"}, ()),
        ("DX", {"ImageType": ["DERIVED", "PRIMARY"], "LossyImageCompression": "01"}, ("derived", "lossy")),
        ("DX", {"LossyImageCompression": "00"}, ()),
    ],
)
def test_what_is_odd_about_an_image(tmp_path: Path, modality: str, extra: dict, issues: tuple) -> None:
    assert read_image(tmp_path / "a", STORED[0], modality=modality, extra=extra).entry.issues == issues


def test_a_lossy_syntax_is_flagged_even_if_the_header_does_not_say_so(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image", STORED[0].astype(np.uint8), syntax="1.2.840.10008.1.2.4.50", extra={"BurnedInAnnotation": "NO"})
    dataset = pydicom.dcmread(path)
    del dataset.LossyImageCompression
    dataset.save_as(path)
    assert read(tmp_path).entry.issues == ("lossy",)


def test_the_first_value_of_a_modality_table_may_be_in_disguise_too(tmp_path: Path) -> None:
    pixels = np.array([[-1000, -999, -998]], np.int16)
    volume = read_image(tmp_path / "a", pixels, extra={"ModalityLUTSequence": table(64536, np.array([5, 6, 7]))})
    np.testing.assert_array_equal(volume.image[0, 0], [[5, 6, 7]])


def test_a_parametric_map_has_its_values_from_its_real_world_mapping(tmp_path: Path) -> None:
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.25, -3.0
    extra = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.30", "RealWorldValueMappingSequence": Sequence([mapping])}
    shared = Dataset()
    shared.RealWorldValueMappingSequence = extra.pop("RealWorldValueMappingSequence")
    volume = read_image(tmp_path / "a", STORED, frames=True, extra=extra | {"SharedFunctionalGroupsSequence": Sequence([shared])})
    np.testing.assert_array_equal(volume.image[0], STORED * 0.25 - 3)
