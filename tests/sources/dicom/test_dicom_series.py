"""Files to stacks: what belongs together, in which order, and where it lies. Truth: synthetic series whose every voxel is unique."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import write_image, write_series

from medood.core.volume import Entry, Index, Volume
from medood.sources.dicom.dicom import Dicom

SHAPE = (7, 12, 10)
ARRAY = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)


def grid(plane: str = "axial", spacing: tuple[float, float, float] = (0.7, 0.9, 2.5), shear: float = 0.0) -> np.ndarray:
    """Affine of (column, row, slice) to RAS mm for a plane; `shear` moves each slice along the rows axis, in mm."""
    axes = {
        "axial": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
        "feet first": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]],
        "coronal": [[-1, 0, 0], [0, 0, -1], [0, 1, 0]],
        "sagittal": [[0, -1, 0], [0, 0, -1], [-1, 0, 0]],
    }
    turn = np.eye(3)
    if plane == "oblique":
        a, b = 0.3, 0.5
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    directions = np.array(axes.get(plane, axes["axial"]), float).T
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions * spacing
    affine[:3, 2] += shear * affine[:3, 1] / spacing[1]
    affine[:3, 3] = [11.0, -22.0, 33.0]
    return affine


def only(index: Index) -> Entry:
    assert len(index.entries) == 1, index
    return index.entries[0]


def read_only(root: Path, **options: str) -> Volume:
    source = Dicom(root, **options)
    return source.read(only(source.index()))


def assert_same_place(volume: Volume, array: np.ndarray, affine: np.ndarray) -> None:
    """Every voxel of `array` is found in the volume at the same millimetres."""
    k, r, c = np.indices(array.shape).reshape(3, -1)
    world = affine @ np.stack([c, r, k, np.ones_like(k)])
    index = np.linalg.inv(volume.geometry.affine) @ world
    rounded = np.rint(index).astype(int)
    np.testing.assert_allclose(index, rounded, atol=1e-4)
    c2, r2, k2, _ = rounded
    np.testing.assert_array_equal(volume.image[0][k2, r2, c2], array[k, r, c])


@pytest.mark.parametrize("numbers", ["ascending", "descending", "shuffled", "equal", "empty", "absent"])
@pytest.mark.parametrize("plane", ["axial", "feet first", "coronal", "sagittal", "oblique"])
def test_slices_are_ordered_by_position_whatever_the_numbers_and_names(tmp_path: Path, plane: str, numbers: str) -> None:
    affine = grid(plane)
    shuffled = np.random.default_rng(0).permutation(SHAPE[0])
    number = {"ascending": lambda k: k, "descending": lambda k: 99 - k, "shuffled": lambda k: shuffled[k], "equal": lambda k: 1}
    instance = {"empty": lambda k: "", "absent": lambda k: None}.get(numbers) or (lambda k: int(number[numbers](k)))
    names = [f"{i}" for i in shuffled]
    write_series(tmp_path / "scan", ARRAY, affine, names=names, extra=lambda k: {"InstanceNumber": instance(k)})
    volume = read_only(tmp_path)
    assert volume.image.shape == (1, *SHAPE)
    assert volume.entry.id == "scan"
    assert volume.entry.issues == ()
    assert volume.geometry.spacing_known
    assert volume.geometry.in_patient
    assert_same_place(volume, ARRAY, affine)
    assert np.linalg.det(volume.geometry.affine) > 0  # along the cross product of rows and columns


@pytest.mark.parametrize(("plane", "anatomical"), [("axial", "axial"), ("coronal", "coronal"), ("sagittal", "sagittal")])
def test_geometry_agrees_with_simpleitk(tmp_path: Path, plane: str, anatomical: str) -> None:
    import SimpleITK

    write_series(tmp_path / "scan", ARRAY, grid(plane), names=[f"{9 - k}.dcm" for k in range(SHAPE[0])])
    volume = read_only(tmp_path)
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "scan")))
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(volume.geometry.affine, np.diag([-1, -1, 1, 1]) @ lps, atol=1e-4)
    np.testing.assert_array_equal(volume.image[0], SimpleITK.GetArrayFromImage(image))
    assert volume.geometry.plane == anatomical


def test_a_tilted_gantry_is_flagged_and_its_shear_kept(tmp_path: Path) -> None:
    affine = grid(shear=2.5 * np.tan(np.radians(15)))
    write_series(tmp_path / "scan", ARRAY, affine)
    volume = read_only(tmp_path)
    assert volume.entry.issues == ("gantry_tilt:15.0",)
    np.testing.assert_allclose(volume.geometry.affine, affine, atol=1e-6)
    assert_same_place(volume, ARRAY, affine)


def test_a_tilt_within_rounding_is_not_flagged(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", ARRAY, grid(shear=2.5 * np.tan(np.radians(0.1))))
    assert read_only(tmp_path).entry.issues == ()


@pytest.mark.parametrize(("skip", "missing", "neighbours"), [((3,), 1, ("0002", "0004")), ((2, 3), 2, ("0001", "0004"))])
def test_a_hole_makes_a_series_a_problem_that_names_it(tmp_path: Path, skip: tuple[int, ...], missing: int, neighbours: tuple) -> None:
    write_series(tmp_path / "scan", ARRAY, grid(), skip=skip)
    index = Dicom(tmp_path).index()
    assert index.entries == ()
    (problem,) = index.problems
    assert (problem.path, problem.code) == ("scan", "nonuniform_spacing")
    assert f"bout {missing} slice(s) are missing" in problem.message
    assert all(f"scan/{name}.dcm" in problem.message for name in neighbours)
    assert f"{2.5 * (missing + 1):.2f} mm" in problem.message


def test_a_series_with_a_hole_can_be_used_as_it_is(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", ARRAY, grid(), skip=(3,))
    volume = read_only(tmp_path, on_bad_series="nearest")
    assert volume.entry.issues == ("nonuniform_spacing",)
    np.testing.assert_array_equal(volume.image[0], np.delete(ARRAY, 3, axis=0))
    assert volume.geometry.spacing[2] == pytest.approx(2.5 * 6 / 5)


@pytest.mark.parametrize(("jitter", "even"), [(0.02, True), (0.03, False)])
def test_distances_may_differ_by_one_percent(tmp_path: Path, jitter: float, even: bool) -> None:
    def moved(k: int) -> dict[str, object]:
        position = (np.diag([-1, -1, 1, 1]) @ grid() @ [0, 0, k + (jitter / 2.5 if k == SHAPE[0] - 1 else 0), 1])[:3]
        return {"ImagePositionPatient": [float(v) for v in position]}

    write_series(tmp_path / "scan", ARRAY, grid(), extra=moved)
    assert bool(Dicom(tmp_path).index().entries) == even


def test_a_slice_beside_the_line_of_the_others_is_a_problem(tmp_path: Path) -> None:
    def moved(k: int) -> dict[str, object]:
        affine = grid()
        affine[0, 3] += 5.0 * (k == 4)
        return {"ImagePositionPatient": [float(v) for v in (np.diag([-1, -1, 1, 1]) @ affine @ [0, 0, k, 1])[:3]]}

    write_series(tmp_path / "scan", ARRAY, grid(), extra=moved)
    index = Dicom(tmp_path).index()
    assert index.entries == ()
    assert index.problems[0].code == "nonuniform_spacing"
    assert "scan/0004.dcm is 5.00 mm beside" in index.problems[0].message


def test_a_copy_of_a_file_is_named_and_left_out(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "scan", ARRAY, grid())
    (tmp_path / "backup").mkdir()
    shutil.copy(paths[2], tmp_path / "scan" / "copy.dcm")
    shutil.copy(paths[3], tmp_path / "backup" / "x")
    index = Dicom(tmp_path).index()
    assert [(p.path, p.code) for p in index.problems] == [
        ("scan/0003.dcm", "duplicate_sop_instance"),
        ("scan/copy.dcm", "duplicate_sop_instance"),
    ]
    assert "backup/x" in index.problems[0].message
    assert "scan/0002.dcm" in index.problems[1].message
    assert only(index).slices == SHAPE[0]


def test_two_slices_at_one_position_are_a_problem_that_names_both(tmp_path: Path) -> None:
    series = "1.2.3"
    write_series(tmp_path / "scan", ARRAY, grid(), series=series)
    again = grid()
    again[:3, 3] = (grid() @ [0, 0, 4, 1])[:3]
    write_series(tmp_path / "scan", ARRAY[:1] + 1, again, series=series, names=["again"])
    index = Dicom(tmp_path).index()
    assert index.entries == ()
    (problem,) = index.problems
    assert problem.code == "duplicate_positions"
    assert "scan/0004.dcm and scan/again" in problem.message
    volume = read_only(tmp_path, on_bad_series="nearest")
    assert volume.entry.issues == ("duplicate_positions",)
    np.testing.assert_array_equal(volume.image[0], ARRAY)


def test_a_localizer_inside_a_series_is_left_out_and_named(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", ARRAY, grid(), series="1.2.3")
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(tmp_path / "scan", ARRAY[:1], grid("sagittal"), series="1.2.3", names=["scout"], extra=scout)
    index = Dicom(tmp_path).index()
    assert only(index).issues == ("localizer_excluded:1",)
    assert only(index).slices == SHAPE[0]
    assert [(p.path, p.code) for p in index.problems] == [("scan/scout", "localizer_excluded")]


def test_a_series_of_localizers_is_kept(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", ARRAY[:1], grid(), extra={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    assert only(Dicom(tmp_path).index()).issues == ("localizer",)


def test_two_series_in_a_folder_are_two_entries_in_the_order_of_their_uids(tmp_path: Path) -> None:
    write_series(tmp_path / "export", ARRAY + 1, grid("coronal"), series="1.2.9", names=[f"a{k}" for k in range(7)])
    write_series(tmp_path / "export", ARRAY, grid(), series="1.2.10", names=[f"b{k}" for k in range(7)])
    source = Dicom(tmp_path)
    first, second = source.index().entries
    assert (first.id, first.origin.series_uid) == ("export#1", "1.2.10")
    assert (second.id, second.origin.series_uid) == ("export#2", "1.2.9")
    assert_same_place(source.read(first), ARRAY, grid())
    assert_same_place(source.read(second), ARRAY + 1, grid("coronal"))


PHASES = {
    "EchoTime": ("9.2", "10.1"),
    "TemporalPositionIdentifier": (9, 10),
    "TriggerTime": ("80", "700"),
    "AcquisitionNumber": (1, 2),
    "DiffusionBValue": (0.0, 1000.0),
    "InversionTime": ("900", "2500"),
    "ImageType": (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
}


@pytest.mark.parametrize("keyword", PHASES)
def test_volumes_at_one_place_are_taken_apart(tmp_path: Path, keyword: str) -> None:
    for number, value in reversed(list(enumerate(PHASES[keyword]))):
        names = [f"{k}-{number}" for k in range(SHAPE[0])]
        write_series(tmp_path / "scan", ARRAY + 500 * number, grid(), modality="MR", series="1.2.3", names=names, extra={keyword: value})
    source = Dicom(tmp_path)
    first, second = source.index().entries
    assert (first.id, second.id) == ("scan#1", "scan#2")
    assert first.issues == second.issues == ("multiple_volumes_in_series:2",)
    assert_same_place(source.read(first), ARRAY, grid())
    assert_same_place(source.read(second), ARRAY + 500, grid())


def test_two_keys_together_may_be_needed(tmp_path: Path) -> None:
    for echo in (1, 2):
        for time in (1, 2):
            extra = {"EchoTime": echo, "TemporalPositionIdentifier": time}
            names = [f"{k}-{echo}{time}" for k in range(SHAPE[0])]
            write_series(tmp_path / "s", ARRAY + 1000 * echo + 100 * time, grid(), series="1.2.3", names=names, extra=extra)
    source = Dicom(tmp_path)
    entries = source.index().entries
    assert [entry.id for entry in entries] == ["s#1", "s#2", "s#3", "s#4"]
    offsets = [source.read(entry).image.min() for entry in entries]
    assert offsets == [1100, 2100, 1200, 2200]  # by time, then by echo


def test_the_key_that_makes_the_fewest_volumes_decides(tmp_path: Path) -> None:
    for echo in (1, 2):

        def phase(k: int, echo: int = echo) -> dict[str, object]:
            return {"EchoTime": echo, "TemporalPositionIdentifier": 10 * echo + (k > 3)}

        write_series(tmp_path / "s", ARRAY, grid(), series="1.2.3", names=[f"{k}-{echo}" for k in range(SHAPE[0])], extra=phase)
    assert [entry.slices for entry in Dicom(tmp_path).index().entries] == [SHAPE[0], SHAPE[0]]


def test_a_number_of_its_own_for_each_slice_takes_nothing_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", ARRAY, grid(), extra=lambda k: {"AcquisitionNumber": k + 1})
    assert only(Dicom(tmp_path).index()).slices == SHAPE[0]


def test_a_hole_in_one_phase_leaves_the_other(tmp_path: Path) -> None:
    for echo, skip in ((1, ()), (2, (3,))):
        names = [f"{echo}-{k}" for k in range(SHAPE[0])]
        write_series(tmp_path / "scan", ARRAY, grid(), series="1.2.3", names=names, skip=skip, extra={"EchoTime": echo})
    index = Dicom(tmp_path).index()
    assert only(index).slices == SHAPE[0]
    assert [p.code for p in index.problems] == ["nonuniform_spacing"]


def test_phases_of_a_single_slice_are_images(tmp_path: Path) -> None:
    for time in range(3):
        extra = {"TemporalPositionIdentifier": time}
        write_series(tmp_path / "scan", ARRAY[time : time + 1], grid(), series="1.2.3", names=[f"{9 - time}"], extra=extra)
    source = Dicom(tmp_path)
    values = [source.read(entry).image[0, 0, 0, 0] for entry in source.index().entries]
    assert values == [ARRAY[time, 0, 0] for time in range(1)] + [ARRAY[0, 0, 0] + 120 * time for time in (1, 2)]


@pytest.mark.parametrize("kind", ["size", "spacing", "direction", "colour"])
def test_images_of_another_geometry_are_a_stack_of_their_own(tmp_path: Path, kind: str) -> None:
    write_series(tmp_path / "scan", ARRAY, grid(), series="1.2.3")
    other = {
        "size": (ARRAY[:2, :8], grid()),
        "spacing": (ARRAY[:2], grid(spacing=(0.8, 0.9, 2.5))),
        "direction": (ARRAY[:2], grid("coronal")),
        "colour": (np.repeat(ARRAY[:2, ..., None], 3, axis=-1).astype(np.uint8), grid()),
    }[kind]
    write_series(tmp_path / "scan", *other, series="1.2.3", names=["x", "y"])
    source = Dicom(tmp_path)
    big, small = sorted(source.index().entries, key=lambda entry: -entry.slices)
    assert (big.slices, small.slices) == (SHAPE[0], 2)
    assert big.issues == small.issues == ("mixed_geometry",)
    assert_same_place(source.read(big), ARRAY, grid())
    assert source.read(small).image.shape[0] == (3 if kind == "colour" else 1)


def test_directions_that_differ_by_rounding_are_one_stack(tmp_path: Path) -> None:
    def rounded(k: int) -> dict[str, object]:
        return {"ImageOrientationPatient": [1, 0.0004 * (k % 2), 0, 0, 1, 0]}

    write_series(tmp_path / "scan", ARRAY, grid(), extra=rounded)
    assert only(Dicom(tmp_path).index()).slices == SHAPE[0]


@pytest.mark.parametrize(
    "lost",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": ""},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"PixelSpacing": None},
    ],
)
def test_slices_without_a_position_are_images_each(tmp_path: Path, lost: dict[str, object]) -> None:
    write_series(tmp_path / "scan", ARRAY[:2], grid(), extra=lost)
    source = Dicom(tmp_path)
    first, second = source.index().entries
    assert (first.id, second.id) == ("scan/0000.dcm", "scan/0001.dcm")
    assert first.issues == ("no_patient_geometry",)
    volume = source.read(second)
    np.testing.assert_array_equal(volume.image[0], ARRAY[1:2])
    assert not volume.geometry.in_patient
    assert volume.geometry.spacing_known == ("PixelSpacing" not in lost)


def test_a_single_slice_is_as_deep_as_it_is_thick(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", ARRAY[:1], grid("oblique"))
    volume = read_only(tmp_path)
    np.testing.assert_allclose(volume.geometry.affine, grid("oblique"), atol=1e-6)


def test_a_radiograph_with_a_position_stands_alone(tmp_path: Path) -> None:
    write_series(tmp_path / "chest", ARRAY[:2], grid(), modality="DX")
    entries = Dicom(tmp_path).index().entries
    assert [entry.id for entry in entries] == ["chest/0000.dcm", "chest/0001.dcm"]
    assert entries[0].issues == ()


def test_a_series_may_lie_in_several_folders_or_in_the_root(tmp_path: Path) -> None:
    root = tmp_path / "study"
    write_series(root, ARRAY, grid(), names=[f"a/{k % 2}/{k}" for k in range(SHAPE[0])])
    write_series(root, ARRAY, grid(), names=[f"{k}" for k in range(SHAPE[0])])
    assert [entry.id for entry in Dicom(root).index().entries] == ["a", "study"]


def test_groups_are_patients_and_never_their_ids(tmp_path: Path) -> None:
    for name, patient, study in [("a", "Zoe", "1"), ("b", "Adam", "2"), ("c", "Zoe", "3"), ("d", "", "4"), ("e", "", "4"), ("f", " ", "5")]:
        write_image(tmp_path / name, ARRAY[0], modality="DX", patient=patient, study=study)
    groups = [entry.group for entry in Dicom(tmp_path).index().entries]
    assert groups == [f"patient-{number:04d}" for number in (1, 2, 1, 3, 3, 4)]


def test_the_index_does_not_depend_on_the_order_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a"):
        write_series(tmp_path / name, ARRAY, grid(), skip=(2,) if name == "b" else ())
        write_series(tmp_path / name, ARRAY, grid("coronal"), names=[f"x{k}" for k in range(7)])
    before = Dicom(tmp_path).index()
    walk = os.walk

    def reversed_walk(*args: object, **options: object):
        for folder, folders, names in walk(*args, **options):
            folders.reverse()
            yield folder, folders, names[::-1]

    monkeypatch.setattr(os, "walk", reversed_walk)
    assert Dicom(tmp_path).index() == before
    assert [entry.id for entry in before.entries] == ["a#1", "a#2", "b"]


def test_origin_names_the_objects_in_the_order_of_the_slices(tmp_path: Path) -> None:
    import pydicom

    names = [f"{9 - k}" for k in range(SHAPE[0])]
    paths = write_series(tmp_path / "scan", ARRAY, grid(), modality="MR", series="1.2.3", study="1.2", names=names)
    origin = only(Dicom(tmp_path).index()).origin
    assert (origin.modality, origin.manufacturer, origin.study_uid, origin.series_uid) == ("MR", "Phantom Works", "1.2", "1.2.3")
    assert origin.sop_uids == tuple(pydicom.dcmread(path).SOPInstanceUID for path in paths)


def test_an_entry_can_be_sent_to_another_process_and_read_there(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", ARRAY, grid())
    source = Dicom(tmp_path)
    there, entry = pickle.loads(pickle.dumps((source, only(source.index()))))
    np.testing.assert_array_equal(there.read(entry).image[0], ARRAY)
    plain = Entry(entry.id, entry.files, entry.group, entry.slices)
    np.testing.assert_array_equal(there.read(plain).image[0], ARRAY)


@pytest.mark.parametrize(("label", "slices", "expected"), [(0, 3, [0, 0, 0]), (1, 3, [-1, -1, -1]), (1, 1, [1]), (None, 2, [-1, -1])])
def test_labels_of_slices_are_only_what_is_known(tmp_path: Path, label: int | None, slices: int, expected: list[int]) -> None:
    from dataclasses import replace

    write_series(tmp_path / "scan", ARRAY[:slices], grid())
    source = Dicom(tmp_path)
    volume = source.read(replace(only(source.index()), label=label))
    assert volume.labels.tolist() == expected
    assert volume.labels.dtype == np.int8
