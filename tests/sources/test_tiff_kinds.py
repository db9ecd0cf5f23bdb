"""TIFFs of every kind of numbers, written by hand, and picture files damaged at random."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from medood.core.errors import InputError
from medood.sources.image import Image

_ROWS, _COLUMNS = 11, 17
_RAMP = np.add.outer(np.arange(_ROWS) * 40, np.arange(_COLUMNS) * 1000)  # 0..16400
_GREY8 = np.random.default_rng(0).integers(0, 256, (_ROWS, _COLUMNS), dtype=np.uint8)


def _tiff(array: np.ndarray, photometric: int = 1, order: str = "<", orientation: int = 1, planes: int = 1) -> bytes:
    """An uncompressed TIFF of one strip; (rows, columns) or (rows, columns, samples)."""
    rows, columns, samples = (*array.shape, 1)[:3]
    kind, bits = {"u": 1, "i": 2, "f": 3}[array.dtype.kind], array.dtype.itemsize * 8
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    tags = {256: (4, columns), 257: (4, rows), 258: (3, bits), 259: (3, 1), 262: (3, photometric), 273: (4, 8), 274: (3, orientation)}
    tags |= {277: (3, samples), 278: (4, rows), 279: (4, len(data)), 284: (3, planes), 339: (3, kind)}
    if samples == 2:
        tags |= {258: (3, bits, bits), 338: (3, 0), 339: (3, kind, kind)}
    entries = b""
    for tag, (width, *values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{'H' if width == 3 else 'L'}", *values)
        entries += struct.pack(f"{order}HHL", tag, width, len(values)) + packed.ljust(4, b"\0")
    start = 8 + len(data) + len(data) % 2
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", start)
    return head + data.ljust(start - 8, b"\0") + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def _read(tmp_path: Path, content: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    (tmp_path / "a.tif").write_bytes(content)
    source = Image(tmp_path / "a.tif")
    volume = source.read(source.index().entries[0])
    return volume.image[:, 0], volume.issues


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_every_kind_of_number_in_both_orders(tmp_path: Path, dtype: str, order: str, photometric: int) -> None:
    """Where 0 is white, whole numbers are turned round within their type; only a float has no largest value to be turned round at."""
    stored = (_RAMP // 80 - 70).astype(dtype) if dtype.endswith("1") else (_RAMP - (5000 if dtype[0] == "i" else 0)).astype(dtype)
    if dtype == "u4":
        stored = stored + np.uint32(3_000_000_000)
    image, issues = _read(tmp_path, _tiff(stored, photometric, order))
    whole = stored.astype(np.float64)
    if photometric == 0:
        info = np.iinfo(dtype) if dtype[0] != "f" else None
        whole = (info.min + info.max if info else whole.min() + whole.max()) - whole
    np.testing.assert_allclose(image[0], whole, rtol=1e-6)
    assert issues == (("inverted_within_own_range",) if photometric == 0 and dtype[0] == "f" else ())


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_of_two_samples_the_first_is_taken_and_it_is_said(tmp_path: Path, dtype: str) -> None:
    both = np.stack([_RAMP // 80, _RAMP // 160], -1).astype(dtype)
    image, issues = _read(tmp_path, _tiff(both))
    np.testing.assert_array_equal(image, both[None, ..., 0])
    assert issues == ("further_samples_dropped",)
    if dtype != "u1":
        apart = np.ascontiguousarray(both.transpose(2, 0, 1)).reshape(both.shape)  # the bytes of one plane after those of the other
        np.testing.assert_array_equal(_read(tmp_path, _tiff(apart, planes=2))[0], both[None, ..., 0])


def test_pages_and_orientation_of_such_kinds(tmp_path: Path) -> None:
    image, _ = _read(tmp_path, _tiff(_RAMP.astype("f8"), orientation=6))
    np.testing.assert_array_equal(image[0], np.rot90(_RAMP, -1))
    stack = np.stack([_RAMP, _RAMP // 2, _RAMP // 3]).astype(np.float64)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack", compression="zlib")
    (entry,) = Image(tmp_path / "stack.tif").index().entries
    assert entry.slices == 3
    np.testing.assert_array_equal(Image(tmp_path).read(entry).image[0], stack)


def test_what_is_not_supported_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"64 bits, sample format 1.* not supported; save it as 16-bit grey") as caught:
        _read(tmp_path, _tiff(_RAMP.astype("u8")))
    assert caught.value.code == "unsupported_mode"
    lzw = io.BytesIO()
    Picture.fromarray(_RAMP.astype(np.float32)).save(lzw, "tiff", compression="tiff_lzw")
    content = lzw.getvalue().replace(struct.pack("<HHLL", 262, 3, 1, 1), struct.pack("<HHLL", 262, 3, 1, 0))
    with pytest.raises(InputError, match="uncompressed only; save it so") as caught:
        _read(tmp_path, content)
    assert caught.value.code == "unsupported_mode"


def test_a_cut_off_file_of_such_a_kind_is_damaged(tmp_path: Path) -> None:
    content = _tiff(_RAMP.astype("f8")).replace(struct.pack("<HHLL", 279, 4, 1, _RAMP.size * 8), struct.pack("<HHLL", 279, 4, 1, 10**6))
    with pytest.raises(InputError, match="damaged, cut off") as caught:
        _read(tmp_path, content)
    assert caught.value.code == "unreadable"


def test_lines_that_libtiff_could_not_decode_are_not_taken_for_an_image(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It fills them with something, prints to the terminal and goes on; Pillow says nothing."""
    fax = io.BytesIO()
    Picture.fromarray(np.random.default_rng(0).random((60, 60)) > 0.5).save(fax, "tiff", compression="group4")
    content = bytearray(fax.getvalue())
    content[120:124] = b"\xff\xff\xff\xff"
    with pytest.raises(InputError, match="damaged"):
        _read(tmp_path, bytes(content))
    assert capfd.readouterr() == ("", "")


def _pictures() -> dict[str, bytes]:
    rgb = np.dstack([_GREY8, _GREY8[::-1], _GREY8[:, ::-1]])
    found = {}
    for number, (ending, array, options) in enumerate(
        [
            ("png", _GREY8, {}),
            ("png", rgb, {}),
            ("png", _GREY8.astype(np.uint16) * 200, {}),
            ("jpg", rgb, {}),
            ("jpg", _GREY8, {"progressive": True}),
            ("bmp", rgb, {}),
            ("tif", rgb, {"compression": "tiff_lzw"}),
            ("tif", _GREY8.astype(np.uint16), {"compression": "tiff_adobe_deflate"}),
            ("tif", _GREY8 > 100, {"compression": "group4"}),
            ("tif", _GREY8, {"save_all": True, "append_images": [Picture.fromarray(_GREY8)]}),
        ]
    ):
        file = io.BytesIO()
        Picture.fromarray(array).save(file, {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending), **options)
        found[f"{number}.{ending}"] = file.getvalue()
    return found | {"f8.tif": _tiff(_RAMP.astype("f8")), "i1.tif": _tiff(_GREY8.view("i1")), "f4.tif": _tiff(_RAMP.astype("f4"), 0)}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", _pictures())
def test_no_picture_ends_a_folder_or_prints(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    """Bytes changed at random where headers are, at the start or the end: the file can be read, or has a reason."""
    rng, whole = np.random.default_rng(0), _pictures()[name]
    refused = 0
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(min(len(content), 150))) * int(rng.choice([1, -1]))
            content[at] = int(rng.choice([0, 255, content[at] ^ 1, rng.integers(256)]))
        if rng.random() < 0.1:
            del content[int(rng.integers(len(content))) :]
        (tmp_path / name).write_bytes(content)
        source = Image(tmp_path / name)
        index = source.index()
        try:
            assert index.problems or np.isfinite(source.read(index.entries[0]).image).all()
            refused += bool(index.problems)
        except InputError:
            refused += 1
    assert refused > 5
    assert capfd.readouterr() == ("", "")
