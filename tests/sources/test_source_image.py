"""Pictures: every kind of pixel against known arrays, and files that must be refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from medood.core.errors import InputError
from medood.core.volume import Volume
from medood.sources.image import Image

_ROWS, _COLUMNS = 20, 33
_GREY8 = np.random.default_rng(0).integers(0, 256, (_ROWS, _COLUMNS), dtype=np.uint8)
_GREY16 = np.random.default_rng(1).integers(0, 65536, (_ROWS, _COLUMNS), dtype=np.uint16)
_RGB = np.random.default_rng(2).integers(0, 256, (_ROWS, _COLUMNS, 3), dtype=np.uint8)

# What EXIF says of a stored array (CIPA DC-008, Orientation) and what turns it upright.
_UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a, 1),
}


def _read(path: Path) -> Volume:
    source = Image(path.parent)
    entries = {entry.id: entry for entry in source.index().entries}
    return source.read(entries[path.name])


def _channels_last(volume: Volume) -> np.ndarray:
    assert volume.image.dtype == np.float32
    return volume.image[:, 0].transpose(1, 2, 0).squeeze()


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("array", [_GREY8, _GREY16, _RGB], ids=["grey8", "grey16", "rgb"])
def test_lossless_pictures_keep_every_value(tmp_path: Path, suffix: str, array: np.ndarray) -> None:
    if suffix == "bmp" and array is _GREY16:
        pytest.skip("BMP has no 16-bit grey")
    Picture.fromarray(array).save(tmp_path / f"a.{suffix}")
    volume = _read(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(_channels_last(volume), array)
    assert volume.image.shape == (3 if array.ndim == 3 else 1, 1, _ROWS, _COLUMNS)
    assert volume.geometry.shape == (1, _ROWS, _COLUMNS)
    assert not volume.geometry.in_patient
    assert not volume.geometry.spacing_known
    assert volume.labels.tolist() == [-1]
    assert volume.issues == ()


def test_signed_and_floating_point_tiff(tmp_path: Path) -> None:
    for name, array in (("int", _GREY16.astype(np.int32) - 40000), ("float", _GREY16.astype(np.float32) / 7)):
        Picture.fromarray(array).save(tmp_path / f"{name}.tif")
        np.testing.assert_array_equal(_channels_last(_read(tmp_path / f"{name}.tif")), array.astype(np.float32))


@pytest.mark.parametrize("orientation", list(_UPRIGHT))
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("array", [_GREY8, _GREY16, _RGB], ids=["grey8", "grey16", "rgb"])
def test_pictures_stand_upright(tmp_path: Path, suffix: str, array: np.ndarray, orientation: int) -> None:
    exif = Picture.Exif()
    exif[0x0112] = orientation
    Picture.fromarray(array).save(tmp_path / f"a.{suffix}", exif=exif)
    np.testing.assert_array_equal(_channels_last(_read(tmp_path / f"a.{suffix}")), _UPRIGHT[orientation](array))


def test_a_turned_jpeg_stands_upright_and_its_preview_is_no_slice(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(_ROWS) * 3, np.arange(_COLUMNS) * 5).astype(np.uint8)
    exif = Picture.Exif()
    exif[0x0112] = 6
    Picture.fromarray(smooth).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert np.abs(_channels_last(_read(tmp_path / "a.jpg")) - np.rot90(smooth, -1)).max() < 8
    Picture.fromarray(_RGB).save(tmp_path / "b.jpg", "MPO", save_all=True, append_images=[Picture.fromarray(_RGB[::-1])], quality=95)
    assert _read(tmp_path / "b.jpg").image.shape == (3, 1, _ROWS, _COLUMNS)


def test_transparency_is_dropped_and_noted_only_where_there_is_some(tmp_path: Path) -> None:
    opaque, clear = np.full((_ROWS, _COLUMNS), 255, np.uint8), np.full((_ROWS, _COLUMNS), 255, np.uint8)
    clear[0, 0] = 10
    for name, alpha, issues in (("opaque", opaque, ()), ("clear", clear, ("alpha_dropped",))):
        Picture.fromarray(np.dstack([_RGB, alpha])).save(tmp_path / f"{name}.png")
        Picture.fromarray(np.dstack([_GREY8, alpha]), mode=None).save(tmp_path / f"{name}_grey.png")
        for file, array in ((f"{name}.png", _RGB), (f"{name}_grey.png", _GREY8)):
            volume = _read(tmp_path / file)
            np.testing.assert_array_equal(_channels_last(volume), array)
            assert volume.issues == issues


def test_palette_bilevel_and_print_colours(tmp_path: Path) -> None:
    few = (_RGB // 128) * 255
    palette = Picture.fromarray(few).quantize(8)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(_channels_last(_read(tmp_path / "palette.png")), few)
    palette.save(tmp_path / "clear.png", transparency=b"\0" + b"\xff" * 7)
    volume = _read(tmp_path / "clear.png")
    np.testing.assert_array_equal(_channels_last(volume), few)
    assert volume.issues == ("alpha_dropped",)
    Picture.fromarray(_GREY8 > 100).save(tmp_path / "bilevel.png")
    np.testing.assert_array_equal(_channels_last(_read(tmp_path / "bilevel.png")), (_GREY8 > 100) * 255)
    Picture.fromarray(_RGB).convert("CMYK").save(tmp_path / "print.tif")
    assert np.abs(_channels_last(_read(tmp_path / "print.tif")) - _RGB).max() <= 2


def test_colour_of_16_bit_is_noted_to_have_lost_its_low_byte(tmp_path: Path) -> None:
    deep = (_RGB.astype(np.uint16) << 8) + 77
    sitk.WriteImage(sitk.GetImageFromArray(deep, isVector=True), tmp_path / "deep.png")
    volume = _read(tmp_path / "deep.png")
    np.testing.assert_array_equal(_channels_last(volume), _RGB)
    assert volume.issues == ("reduced_to_8_bit",)


def test_white_is_zero_is_inverted_at_every_depth(tmp_path: Path) -> None:
    """TIFF 6.0, PhotometricInterpretation 0: low values are bright. Pillow stores 8-bit values inverted for it, 16-bit ones as given."""
    Picture.fromarray(_GREY8).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(_channels_last(_read(tmp_path / "a.tif")), _GREY8)
    Picture.fromarray(_GREY16).save(tmp_path / "b.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(_channels_last(_read(tmp_path / "b.tif")), 65535 - _GREY16.astype(np.float32))


def test_pages_of_a_tiff_are_slices(tmp_path: Path) -> None:
    pages = [Picture.fromarray(_GREY16 // n) for n in (1, 2, 3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    (entry,) = Image(tmp_path).index().entries
    assert entry.slices == 3
    volume = Image(tmp_path).read(entry)
    np.testing.assert_array_equal(volume.image, np.stack([_GREY16, _GREY16 // 2, _GREY16 // 3])[None])
    assert volume.geometry.shape == (3, _ROWS, _COLUMNS)
    assert volume.labels.shape == (3,)
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=[pages[1].resize((5, 5))])
    (entry,) = Image(tmp_path).index().entries
    with pytest.raises(InputError) as caught:
        Image(tmp_path).read(entry)
    assert caught.value.code == "pages_differ"


def test_what_is_no_picture_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "none.txt").write_text("")
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "._a.png").write_text("")
    (tmp_path / "Thumbs.db").write_text("")
    (tmp_path / "vector.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n")  # Pillow would run a program on it
    Picture.fromarray(_GREY8).save(tmp_path / "good.png")
    index = Image(tmp_path).index()
    assert [entry.id for entry in index.entries] == ["good.png"]
    assert {p.path: p.code for p in index.problems} == {
        "empty.png": "empty",
        "text.png": "unreadable",
        "vector.png": "unreadable",
        "notes.txt": "not_an_image",
        "none.txt": "not_an_image",
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [3599, 1000])
def test_the_guard_against_decompression_bombs_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Pillow only warns up to twice its limit."""
    Picture.fromarray(np.zeros((60, 60), np.uint8)).save(tmp_path / "large.png")
    monkeypatch.setattr(Picture, "MAX_IMAGE_PIXELS", limit)
    (problem,) = Image(tmp_path).index().problems
    assert problem.code == "too_large"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_cut_off_picture_is_an_input_error(tmp_path: Path, suffix: str) -> None:
    Picture.fromarray(_GREY8).resize((300, 300)).save(tmp_path / f"a.{suffix}")
    whole = (tmp_path / f"a.{suffix}").read_bytes()
    (entry,) = Image(tmp_path).index().entries
    (tmp_path / f"a.{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"a\.{suffix}: ") as caught:
        Image(tmp_path).read(entry)
    assert caught.value.code == "unreadable"


def test_not_a_number_is_an_error(tmp_path: Path) -> None:
    array = np.ones((4, 5), np.float32)
    array[1, 2] = np.nan
    Picture.fromarray(array).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="1 pixels") as caught:
        _read(tmp_path / "a.tif")
    assert caught.value.code == "not_finite"


def test_groups_are_files_or_folders(tmp_path: Path) -> None:
    for name in ("p1/a.png", "p1/b.png", "p2/day1/a.png", "c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(_GREY8).save(tmp_path / name)
    assert [e.group for e in Image(tmp_path).index().entries] == ["c.png", "p1/a.png", "p1/b.png", "p2/day1/a.png"]
    assert [e.group for e in Image(tmp_path, group="folder").index().entries] == ["c.png", "p1", "p1", "p2/day1"]
    assert [e.group for e in Image(tmp_path, group="subject").index().entries] == ["c.png", "p1", "p1", "p2"]
