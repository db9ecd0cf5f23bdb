"""Generated images: what is said of them is true, on every seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from medood.core.errors import MedoodError
from medood.core.geometry import Geometry
from medood.sources.cohorts.brats import Brats
from medood.sources.dicom.library import pydicom
from medood.sources.folder import Folder
from medood.sources.mask_file import read_mask
from medood.sources.phantoms.brain_phantom import Brain, make_brain
from medood.sources.phantoms.phantom import Phantom
from medood.tasks.images.phantoms import write_phantoms

_SEEDS = range(20)


def _brain(seed: int, lesions: int, kind: str | None = None) -> Brain:
    return make_brain(seed, 3, size=64, slices=24, lesions=(kind,) * lesions)


def _noise(image: np.ndarray) -> float:
    """Standard deviation between neighbouring columns deep in the brain, as noise makes it."""
    inside = ~binary_dilation(image == 0, iterations=3)
    steps = np.diff(image, axis=2)[inside[:, :, 1:] & inside[:, :, :-1]]
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2))


@pytest.mark.parametrize("seed", _SEEDS)
def test_lesions_stand_out_of_the_noise(seed: int) -> None:
    healthy = _brain(seed, 0).image
    noise = _noise(healthy)
    for kind in ("hyper", "hypo", "texture"):
        brain = _brain(seed, 1, kind)
        lesion = brain.mask > 0
        assert brain.lesions[0].kind == kind
        assert brain.lesions[0].voxels == lesion.sum() > 20
        assert np.abs(brain.image - healthy)[lesion].mean() > 2 * noise
        if kind == "texture":  # coarser than the noise, so that it stays when the noise is smoothed away
            assert gaussian_filter(brain.image, (0, 0.7, 0.7))[lesion].std() > 1.8 * noise
        else:
            around = binary_dilation(lesion, iterations=4) & ~binary_dilation(lesion, iterations=2) & (brain.image > 0)
            step = np.median(brain.image[lesion]) - np.median(brain.image[around])
            assert step * {"hyper": 1, "hypo": -1}[kind] > 2 * noise


def test_health_is_everywhere_but_in_the_lesion() -> None:
    brain, healthy = _brain(0, 1, "hypo"), _brain(0, 0)
    far = ~binary_dilation(brain.mask > 0, iterations=8)
    assert far.any()
    np.testing.assert_array_equal(brain.image[far], healthy.image[far])
    assert healthy.mask.sum() == 0
    assert healthy.lesions == ()


@pytest.mark.parametrize("seed", _SEEDS)
def test_the_place_and_size_of_a_lesion_are_those_of_its_mask(seed: int) -> None:
    brain = _brain(seed, 1)
    geometry = Geometry(brain.affine, brain.mask.shape)
    voxels = np.argwhere(brain.mask)
    np.testing.assert_allclose(brain.lesions[0].centre, np.mean([geometry.world(tuple(v)) for v in voxels], axis=0), atol=0.02)
    volume = len(voxels) * np.prod(geometry.spacing)
    assert brain.lesions[0].radius == pytest.approx((volume / (4 / 3 * np.pi)) ** (1 / 3), abs=0.02)
    assert (brain.image[brain.mask > 0] > 0).all()


def test_brains_look_like_brains() -> None:
    brain = _brain(0, 0)
    assert Geometry(brain.affine, brain.mask.shape).plane == "axial"
    assert brain.image.dtype == np.float32
    assert (brain.image[:, [0, -1]] == 0).all()
    area = (brain.image > 0).sum(axis=(1, 2))
    assert 9 <= int(area.argmax()) <= 15
    middle = brain.image[12]
    ventricle, tissue = middle[24:40, 26:38].min(), np.median(middle[middle > 0])
    assert ventricle < 0.4 * tissue


def test_the_same_seed_is_the_same_image_and_another_is_not() -> None:
    source = Phantom(subjects=4, size=48, slices=12, seed=5)
    entry = source.index().entries[1]
    again = Phantom(subjects=9, size=48, slices=12, seed=5).read(entry)
    np.testing.assert_array_equal(source.read(entry).image, again.image)
    other = Phantom(subjects=4, size=48, slices=12, seed=6).read(entry)
    assert not np.array_equal(other.image, again.image)
    assert not np.array_equal(source.read(source.index().entries[3]).image, again.image)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 5), (0.5, 10), (0.3, 6), (1.0, 20)])
def test_the_share_of_lesions(share: float, count: int) -> None:
    labels = [entry.label for entry in Phantom(subjects=20, lesions=share).index().entries]
    assert sum(label == 1 for label in labels) == count
    assert sum(label == 0 for label in labels) == 20 - count


def test_brains_as_volumes() -> None:
    source = Phantom(subjects=2, size=64, slices=24, lesions=0.5, seed=1)
    normal, anomalous = (source.read(entry) for entry in source.index().entries)
    assert normal.image.shape == (1, 24, 64, 64)
    assert (normal.labels == 0).all()
    pixels = anomalous.mask.sum(axis=(1, 2))
    least = round(50 / (192 / 64) ** 2)
    np.testing.assert_array_equal(anomalous.labels, np.where(pixels > least, 1, np.where(pixels == 0, 0, -1)))
    assert (anomalous.labels == 1).any()


def test_skin_as_pictures() -> None:
    source = Phantom(kind="skin", subjects=4, size=64)
    for entry in source.index().entries:
        volume = source.read(entry)
        assert volume.image.shape == (3, 1, 64, 64)
        assert not volume.geometry.in_patient
        assert 0 <= volume.image.min() < volume.image.max() <= 255
        assert volume.labels.tolist() == [entry.label]
        assert (volume.mask.sum() > 0) == (entry.label == 1)
        red, _, blue = volume.image[:, 0, :4, :4].mean(axis=(1, 2))
        assert red > blue


def test_too_small_a_phantom_is_refused() -> None:
    with pytest.raises(MedoodError, match="at least 32"):
        Phantom(size=16)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms") / "out"
    write_phantoms(out, subjects=4, seed=2, size=64, slices=24)
    return out


def test_written_volumes_are_a_brats_release_with_true_labels(written: Path) -> None:
    truth = {item["path"]: item["lesions"] for item in json.loads((written / "truth.json").read_text())["subjects"]}
    source = Brats(written / "nifti")
    entries = source.index().entries
    assert [e.group for e in entries] == [f"phantom_{n:04d}" for n in range(4)]
    for number, entry in enumerate(entries):
        volume = source.read(entry)
        brain = Phantom(subjects=4, seed=2, size=64, slices=24).brain(number)
        np.testing.assert_allclose(volume.image[0], brain.image, atol=0.51)
        np.testing.assert_array_equal(volume.mask, brain.mask)
        lesions = truth[f"nifti/{entry.group}"]
        assert bool(lesions) == bool(volume.mask.any()) == (number % 2 == 1)
        if lesions:
            middle = np.mean([volume.geometry.world(tuple(v)) for v in np.argwhere(volume.mask)], axis=0)
            np.testing.assert_allclose(lesions[0]["centre_ras_mm"], middle, atol=0.02)


def test_the_written_series_lies_where_the_truth_says(written: Path) -> None:
    source = Folder(written / "dicom")
    index = source.index()
    assert index.problems == ()
    (entry,) = index.entries
    assert (entry.slices, entry.issues) == (24, ())
    volume = source.read(entry)
    brain = make_brain(2, 4, size=64, slices=24, lesions=("hyper", "hypo", "texture"))
    assert [lesion.kind for lesion in brain.lesions] == ["hyper", "hypo", "texture"]
    np.testing.assert_allclose(volume.image[0], brain.image, atol=0.51)
    np.testing.assert_allclose(volume.geometry.affine, brain.affine, atol=1e-3)
    mask = read_mask(written / "masks" / "unseen_seg.nii.gz", volume.geometry, "unseen")
    np.testing.assert_array_equal(mask, brain.mask)


def test_the_written_series_has_shuffled_names_and_no_person(written: Path) -> None:
    files = sorted((written / "dicom").rglob("*.dcm"))
    headers = [pydicom.dcmread(file) for file in files]
    numbers = [header.InstanceNumber for header in headers]
    assert sorted(numbers) == list(range(1, 25))
    assert numbers != sorted(numbers)
    assert {str(header.PatientName) for header in headers} == {"Phantom^Unseen"}
    assert len({header.SOPInstanceUID for header in headers}) == 24
    assert not any(header.get(name) for header in headers for name in ("PatientBirthDate", "AccessionNumber", "StudyDate"))


def test_phantoms_replace_phantoms_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(MedoodError, match="something else"):
        write_phantoms(tmp_path / "mine", subjects=1, size=32, slices=8)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    for subjects in (2, 1):
        write_phantoms(tmp_path / "out", subjects=subjects, size=32, slices=8)
    assert [path.name for path in (tmp_path / "out" / "nifti").iterdir()] == ["phantom_0000"]
