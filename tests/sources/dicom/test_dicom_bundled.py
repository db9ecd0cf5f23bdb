"""Real files of many makers, those that pydicom ships within its package. pydicom and SimpleITK are the second opinion."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.pixels import apply_color_lut, apply_modality_lut

from medood.core.errors import InputError
from medood.core.volume import Volume
from medood.sources.dicom.dicom import Dicom

FILES = Path(pydicom.data.__file__).parent / "test_files"


def shipped(name: str) -> Path:
    path = FILES / name
    if not path.exists():
        pytest.skip(f"this pydicom does not ship {name}")
    return path


def read(name: str, folder: Path) -> Volume:
    shutil.copy(shipped(name), folder / "file")
    source = Dicom(folder)
    index = source.index()
    assert len(index.entries) == 1, index.problems
    return source.read(index.entries[0])


def by_pydicom(name: str) -> np.ndarray:
    """(channels, frames, rows, columns)"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(FILES / name)
        values = apply_modality_lut(dataset.pixel_array, dataset)
    colour = dataset.SamplesPerPixel == 3
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colour, values = True, apply_color_lut(values, dataset) * (255 / 65535)
    frames = values if int(dataset.get("NumberOfFrames", 1)) > 1 else values[None]
    return frames.transpose(3, 0, 1, 2) if colour else frames[None]


@pytest.mark.parametrize(
    "name",
    [
        *("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_implicit.dcm"),
        *("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "J2K_pixelrep_mismatch.dcm"),
        *("JPEG2000.dcm", "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "image_dfl.dcm", "examples_overlay.dcm"),
        *("ExplVR_BigEnd.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"),
        *("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm", "SC_rgb_jpeg.dcm"),
        *("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm"),
        *("GDCMJ2K_TextGBR.dcm", "examples_jpeg2k.dcm", "examples_palette.dcm", "examples_rgb_color.dcm", "examples_ybr_color.dcm"),
    ],
)
def test_values_agree_with_pydicom(tmp_path: Path, name: str) -> None:
    shipped(name)
    np.testing.assert_allclose(read(name, tmp_path).image, by_pydicom(name), atol=1e-3)


@pytest.mark.parametrize(("name", "bits"), [("SC_rgb_rle_16bit.dcm", 16), ("SC_rgb_rle_32bit_2frame.dcm", 32)])
def test_deep_colour_is_scaled_to_255(tmp_path: Path, name: str, bits: int) -> None:
    shipped(name)
    np.testing.assert_allclose(read(name, tmp_path).image, by_pydicom(name) * (255 / (2**bits - 1)), rtol=1e-6)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm", "CT_small.dcm", "SC_rgb_jpeg_gdcm.dcm", "693_J2KI.dcm"])
def test_values_agree_with_simpleitk(tmp_path: Path, name: str) -> None:
    import SimpleITK

    volume = read(name, tmp_path)
    other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(FILES / name))).astype(np.float32)
    other = np.moveaxis(other, -1, 0) if other.ndim == 4 else other.reshape(volume.image.shape)
    ours = volume.image if volume.padding is None else np.where(volume.padding, other, volume.image)
    np.testing.assert_allclose(ours, other, atol=1)


def test_geometry_agrees_with_simpleitk(tmp_path: Path) -> None:
    import SimpleITK

    volume = read("MR_small.dcm", tmp_path)
    image = SimpleITK.ReadImage(str(FILES / "MR_small.dcm"))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.geometry.affine
    np.testing.assert_allclose(lps[:3, 3], image.GetOrigin(), atol=1e-5)
    in_plane = (np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing())[:, :2]
    np.testing.assert_allclose(lps[:3, :2], in_plane, atol=1e-5)


def test_a_disc_with_dicomdir_is_read_file_by_file() -> None:
    root = shipped("dicomdirtests")
    index = Dicom(root).index()
    series = {entry.id: entry for entry in index.entries}
    assert series["98892001/CT5N"].slices == 5
    assert {"77654033/CR1/6154", "77654033/CR2/6247", "77654033/CR3/6278"} <= set(series)
    assert series["77654033/CR1/6154"].issues == ("derived", "imager_spacing_used", "monochrome1_inverted")
    assert series["77654033/CR1/6154"].group == series["77654033/CR3/6278"].group != series["98892001/CT5N"].group
    codes = {problem.path: problem.code for problem in index.problems}
    assert codes["DICOMDIR"] == "dicomdir"
    assert codes["README.txt"] == "not_dicom"
    assert codes["77654033/CT2"] == "nonuniform_spacing"


def test_whatever_lies_in_the_folder_is_read_or_refused_with_a_code() -> None:
    source = Dicom(shipped("."))
    index = source.index()
    refused = {}
    for entry in index.entries:
        try:
            volume = source.read(entry)
        except InputError as error:
            refused[entry.id] = error.code
            continue
        assert volume.image.dtype == np.float32
        assert volume.image.shape[1:] == volume.geometry.shape
        assert volume.image.shape[1] == entry.slices == len(volume.labels)
        assert np.isfinite(volume.image).all()
        assert np.linalg.det(volume.geometry.affine) > 0
    assert set(refused) <= {"JPEG2000-embedded-sequence-delimiter.dcm"}
    codes = {problem.path: problem.code for problem in index.problems}
    assert codes["MR_truncated.dcm"] == "truncated"
    assert codes["rtplan.dcm"] == codes["reportsi.dcm"] == codes["rtdose.dcm"] == codes["liver_1frame.dcm"] == "no_image"
    names = {path.relative_to(source.root).as_posix() for path in source.root.rglob("*") if path.is_file()}
    mentioned = set(codes) | {file.relative_to(source.root).as_posix() for entry in index.entries for file in entry.files}
    assert names - mentioned == {f"dicomdirtests/77654033/CT2/{number}" for number in (17106, 17136, 17166, 17196)}  # named by their folder
