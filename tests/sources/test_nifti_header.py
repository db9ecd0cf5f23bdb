"""Headers of NIfTI files: turned by quaternions as SimpleITK turns them, odd, lying and damaged."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medood.core.errors import InputError
from medood.sources.nifti import Nifti, read_nifti
from medood.sources.nifti_header import parse_header

_SHAPE = (5, 4, 3)
_VALUES = np.arange(60, dtype=np.int16).reshape(_SHAPE)
_AFFINE = np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, -5], [0, 0, 0, 1]])


def _bytes(kind: type = nib.Nifti1Image, endianness: str = "<", sform: int = 1, qform: int = 1) -> bytearray:
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(np.int16)
    image = kind(_VALUES, _AFFINE, header)
    image.set_sform(_AFFINE, sform)
    image.set_qform(_AFFINE, qform)
    return bytearray(image.to_bytes())


def _with(fields: dict[str, object], **forms: int) -> bytes:
    """A file whose header has other values in some fields."""
    content = _bytes(**forms)
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(content[348:])


def _place(content: bytes) -> np.ndarray:
    return parse_header(bytes(content), "a").affine


def _of_simpleitk(path: Path) -> np.ndarray:
    """Index to RAS millimetres."""
    image = sitk.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1, 1, 1]) @ affine


@pytest.mark.parametrize("length", [0.3, 0.999999, 1.0, 1.0000003, 1.0005])
@pytest.mark.parametrize("handed", [1.0, -1.0, 0.0])
def test_quaternions_turn_as_they_do_in_simpleitk(tmp_path: Path, length: float, handed: float) -> None:
    """One that is a little longer than 1 is common: programs write it in few digits."""
    rng = np.random.default_rng(0)
    for number in range(6):
        axis = np.array([0.707107, 0.707107, 0]) if number == 0 else rng.normal(size=3)
        b, c, d = axis / np.linalg.norm(axis) * length
        fields = {"quatern_b": b, "quatern_c": c, "quatern_d": d, "pixdim": [handed, 0.7, 1.3, 2.5, 1, 1, 1, 1], "qoffset_x": 31.5}
        content = _with(fields, sform=0)
        (tmp_path / "a.nii").write_bytes(content)
        np.testing.assert_allclose(_place(content), _of_simpleitk(tmp_path / "a.nii"), atol=2e-5)


@pytest.mark.parametrize("b", [1.2, -40.0, np.nan, np.inf, 3e38])
def test_a_quaternion_that_is_none_is_refused_unless_the_sform_says_the_place(tmp_path: Path, b: float) -> None:
    with pytest.raises(InputError, match=r"singular or not a number; set a valid sform") as caught:
        _place(_with({"quatern_b": b}, sform=0))
    assert caught.value.code == "bad_affine"
    header = parse_header(_with({"quatern_b": b}), "a")
    np.testing.assert_allclose(header.affine, _AFFINE)
    assert header.issues == ("qform_unusable",)


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 0], [0, -2, 0, 1e30]])
def test_an_sform_that_is_none_leaves_the_place_to_the_qform(row: list[float]) -> None:
    header = parse_header(_with({"srow_x": row}), "a")
    np.testing.assert_allclose(header.affine, _AFFINE, atol=1e-5)
    assert header.issues == ("sform_unusable",)
    with pytest.raises(InputError, match="singular"):
        parse_header(_with({"srow_x": row}, qform=0), "a")


def test_what_is_odd_has_a_code() -> None:
    codes = {
        (): _with({}),
        ("orientation_unknown",): _with({}, sform=0, qform=0),
        ("sheared",): _with({"srow_x": [-2, 0.1, 0, 10]}, qform=0),
        ("sform_qform_differ",): _with({"qoffset_x": 12.0}),
    }
    for issues, content in codes.items():
        assert parse_header(content, "a").issues == issues
    assert parse_header(_with({"qoffset_x": 10.5}), "a").issues == (), "a quarter of a voxel"
    assert parse_header(_with({"srow_x": [-2, 0.02, 0, 10]}, qform=0), "a").issues == ("sheared",)
    assert not parse_header(_with({}, sform=0, qform=0), "a").placed


def test_voxel_sizes_alone_put_the_middle_at_the_origin() -> None:
    content = _with({"pixdim": [1, -0.5, 0, np.nan, 1, 1, 1, 1]}, sform=0, qform=0)
    np.testing.assert_allclose(_place(content), [[-0.5, 0, 0, 1], [0, 1, 0, -1.5], [0, 0, 1, -1], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"magic": b"ni1"}, "unsupported"),
        ({"magic": b"n+1x"}, "unreadable"),
        ({"datatype": 7}, "unreadable"),
        ({"datatype": 128}, "not_grey"),
        ({"dim": [0, 5, 4, 3, 1, 1, 1, 1]}, "truncated"),
        ({"dim": [3, 5, -4, 3, 1, 1, 1, 1]}, "truncated"),
        ({"dim": [1, 60, 1, 1, 1, 1, 1, 1]}, "not_3d"),
        ({"dim": [7, 1, 1, 1, 1, 5, 4, 3]}, "not_3d"),
        ({"vox_offset": np.nan}, "unreadable"),
        ({"vox_offset": np.inf}, "unreadable"),
        ({"vox_offset": 100}, "unreadable"),
        ({"vox_offset": -352}, "unreadable"),
        ({"scl_slope": 1, "scl_inter": np.nan}, "bad_scale"),
    ],
)
def test_headers_that_cannot_be_followed_have_a_reason(fields: dict[str, object], code: str) -> None:
    with pytest.raises(InputError, match=r"^p/a\.nii: ") as caught:
        parse_header(_with(fields), "p/a.nii")
    assert caught.value.code == code


def test_voxels_right_behind_the_header_where_it_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(_with({"vox_offset": 0}))
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii", "a")[0].T, _VALUES)


def test_extensions_are_passed_over_and_never_believed(tmp_path: Path) -> None:
    content = bytearray(_with({}))
    content[348] = 1
    lie = struct.pack("<ii", 2**31 - 16, 6) + b"Doe^Jane"
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    header["vox_offset"] = 352 + len(lie)
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(content[348:352]) + lie + bytes(content[352:]))
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii", "a")[0].T, _VALUES)


def test_values_are_scaled_in_float64_and_never_warned_about(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(_with({"scl_slope": 1e-3, "scl_inter": 1024.0}))
    np.testing.assert_allclose(read_nifti(tmp_path / "a.nii", "a")[0].T, _VALUES * np.float64(np.float32(1e-3)) + 1024, rtol=1e-7)
    (tmp_path / "a.nii").write_bytes(_with({"scl_slope": 3e38}))
    assert np.isinf(read_nifti(tmp_path / "a.nii", "a")[0]).any()


def test_a_header_that_lies_of_a_gigabyte_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random voxels cannot be told from many by the size of a packed file: what is there is read, block by block, until it ends."""
    noise = np.random.default_rng(0).integers(0, 256, 1 << 20, dtype=np.uint8).tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(_with({"dim": [3, 1000, 1000, 500, 1, 1, 1, 1]}) + noise, 1))
    (entry,) = Nifti(tmp_path).index().entries
    asked: list[int] = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size: asked.append(size) or read(self, size))
    with pytest.raises(InputError, match="damaged or cut off"):
        Nifti(tmp_path).read(entry)
    assert max(asked) <= 1 << 24


def _overwrite(content: bytearray, rng: np.random.Generator, size: int) -> None:
    specials = [b"\0\0\xc0\x7f", b"\xff\xff\xff\xff", bytes(4), b"\0\0\x80\x7f", b"\x7f\xff\xff\xff"]
    for _ in range(int(rng.integers(1, 4))):
        at, way = int(rng.integers(size - 4)), int(rng.integers(3))
        if way == 0:
            content[at] = int(rng.integers(256))
        elif way == 1:
            content[at] ^= 1 << int(rng.integers(8))
        else:
            content[at : at + 4] = specials[int(rng.integers(len(specials)))]


_KINDS = [(kind, order) for kind in (nib.Nifti1Image, nib.Nifti2Image) for order in "<>"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("kind", "order"), _KINDS, ids=[f"{kind.__name__}{order}" for kind, order in _KINDS])
def test_no_header_ends_a_folder_or_prints(tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: type, order: str) -> None:
    """Every byte of the header changed once, then several at random: each file is an entry that can be read, or has a reason."""
    rng = np.random.default_rng(0)
    whole, size = _bytes(kind, order), kind.header_class.sizeof_hdr
    contents = []
    for at in range(size):
        contents.append(bytearray(whole))
        contents[-1][at] ^= 0xFF
    for _ in range(150):
        contents.append(bytearray(whole))
        _overwrite(contents[-1], rng, size)
    seen = {"read": 0, "refused": 0}
    for content in contents:
        (tmp_path / "a.nii").write_bytes(content)
        seen[_outcome(tmp_path)] += 1
    assert min(seen.values()) > 15, "nothing was tested"
    assert capfd.readouterr() == ("", "")


def _outcome(root: Path) -> str:
    source = Nifti(root, nan="zero")
    index = source.index()
    if index.problems:
        assert index.problems[0].message
        return "refused"
    try:
        volume = source.read(index.entries[0])
    except InputError:
        return "refused"
    assert np.isfinite(volume.image).all()
    assert np.isfinite(volume.geometry.affine).all()
    return "read"


def _flip(content: bytearray, rng: np.random.Generator) -> None:
    content[int(rng.integers(len(content)))] ^= 0x5A


def _cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(rng.integers(len(content))) :]


@pytest.mark.parametrize("damage", [_flip, _cut])
def test_no_packed_file_ends_a_folder(tmp_path: Path, damage: Callable[[bytearray, np.random.Generator], None]) -> None:
    rng = np.random.default_rng(1)
    whole = gzip.compress(bytes(_bytes()))
    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        damage(content, rng)
        (tmp_path / "a.nii.gz").write_bytes(content)
        refused += _outcome(tmp_path) == "refused"
    assert refused > 150
