"""Volumes at one place are taken apart by times, b-values and directions, last of all by the clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_writer import write_enhanced, write_series

from medood.core.volume import Index
from medood.sources.dicom.dicom import Dicom

ARRAY = np.arange(4 * 6 * 5, dtype=np.uint16).reshape(4, 6, 5)
GRID = np.diag([-1.0, -1.0, 3.0, 1.0])


def volumes(root: Path) -> list[np.ndarray]:
    source = Dicom(root)
    index = source.index()
    assert index.problems == ()
    return [source.read(entry).image[0] for entry in index.entries]


def write_phases(root: Path, extra: Any, phases: int = 3, modality: str = "PT") -> None:
    """`extra` gives elements for slice k of a phase; phase p holds ARRAY + 200 p. The names of the files say nothing about the order."""
    for phase in range(phases):
        names = [f"{(37 * (4 * phase + k) + 11) % 101:03d}" for k in range(4)]
        elements = lambda k, phase=phase: extra(phase, k)  # noqa: E731
        write_series(root, ARRAY + 200 * phase, GRID, modality=modality, series="1.2.3", study="1.2", names=names, extra=elements)


@pytest.mark.parametrize(
    "extra",
    [
        lambda phase, k: {"FrameReferenceTime": 500.0 + 1000 * phase, "AcquisitionTime": f"1000{phase:02d}"},
        lambda phase, k: {"AcquisitionTime": f"0959{58 + phase % 2:02d}" if phase < 2 else "100000"},
        lambda phase, k: {"AcquisitionDateTime": f"2020010123595{phase}"},
        lambda phase, k: {"ContentTime": f"10000{phase}.5"},
        lambda phase, k: {"AcquisitionTime": f"10{phase:02d}{(7 * k) % 4:02d}"},
        lambda phase, k: {"FrameReferenceTime": 10.0 * phase + k, "AcquisitionTime": "100000"},
        lambda phase, k: {"SequenceName": f"ep_b{(0, 500, 1000)[phase]}"},
    ],
    ids=["PET", "perfusion", "date and time", "content", "each slice at its own time", "each slice at its own reference time", "sequence"],
)
def test_times_take_phases_apart(tmp_path: Path, extra: Any) -> None:
    write_phases(tmp_path, extra)
    np.testing.assert_array_equal(sorted(volumes(tmp_path), key=np.min), [ARRAY, ARRAY + 200, ARRAY + 400])


def test_the_clock_is_asked_last(tmp_path: Path) -> None:
    """Two echoes, each acquired in two goes: the times alone would make two volumes of slices of both echoes."""
    for echo in range(2):

        def elements(k: int, echo: int = echo) -> dict[str, Any]:
            return {"EchoTime": 5 + echo, "AcquisitionTime": "100000" if (k < 2) == (echo == 0) else "110000"}

        names = [f"{echo}{k}" for k in range(4)]
        write_series(tmp_path, ARRAY + 200 * echo, GRID, modality="MR", series="1.2.3", study="1.2", names=names, extra=elements)
    np.testing.assert_array_equal(volumes(tmp_path), [ARRAY, ARRAY + 200])


def test_times_of_volumes_that_were_not_acquired_one_after_another_take_nothing_apart(tmp_path: Path) -> None:
    """Two passes over the slices whose times overlap may be anything; the refusal says what was compared, all of which is true."""
    write_phases(tmp_path, lambda phase, k: {"AcquisitionTime": f"1000{(phase + 5 * k) % 12:02d}"}, phases=2)
    (problem,) = Dicom(tmp_path).index().problems
    assert problem.code == "duplicate_positions"
    assert "4 slice(s) lie where another one lies" in problem.message
    assert "AcquisitionTime" in problem.message
    assert "nothing in the headers" not in problem.message
    assert len(problem.files) == 8


def diffusion(root: Path, frame_extra: Any, directions: int = 3) -> None:
    """An enhanced object: every direction at each of four positions; frame k is direction k % directions."""
    frames = np.concatenate([[plane + 200 * d for d in range(directions)] for plane in ARRAY]).astype(np.uint16)

    def groups(k: int) -> dict[str, Any]:
        place, direction = divmod(k, directions)
        position = (np.diag([-1, -1, 1, 1]) @ GRID @ [0, 0, place, 1])[:3]
        content = {"DimensionIndexValues": [1, place + 1, k + 1]}
        return {"PlanePositionSequence": {"ImagePositionPatient": [*map(float, position)]}, "FrameContentSequence": content} | frame_extra(
            place, direction
        )

    write_enhanced(
        root / "dwi", frames, GRID, modality="MR", order=np.random.default_rng(1).permutation(len(frames)).tolist(), frame_extra=groups
    )


def direction(vector: list[float], b: float) -> dict[str, Any]:
    item = pydicom.Dataset()
    item.DiffusionGradientOrientation = vector
    elements = {"DiffusionBValue": b, "DiffusionDirectionality": "DIRECTIONAL"}
    return {"MRDiffusionSequence": elements | {"DiffusionGradientDirectionSequence": pydicom.Sequence([item])}}


@pytest.mark.parametrize(
    "frame_extra",
    [
        lambda place, d: direction([[1, 0, 0], [0, 1, 0], [0, 0, 1]][d], 1000.0),
        lambda place, d: {"MRDiffusionSequence": {"DiffusionBValue": [0.0, 800.0, 1000.0][d]}},
        lambda place, d: {"FrameContentSequence": {"DimensionIndexValues": [1, place + 1, d + 1]}},
    ],
    ids=["directions", "b-values", "dimensions"],
)
def test_frames_of_diffusion_are_taken_apart(tmp_path: Path, frame_extra: Any) -> None:
    diffusion(tmp_path, frame_extra)
    np.testing.assert_array_equal(sorted(volumes(tmp_path), key=np.min), [ARRAY, ARRAY + 200, ARRAY + 400])


def test_frames_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    diffusion(tmp_path, lambda place, d: {})
    (problem,) = Dicom(tmp_path).index().problems
    assert problem.code == "duplicate_positions"


@pytest.mark.parametrize("count", [2, 5])
def test_functional_groups_of_other_frames_than_there_are_make_the_object_unreadable(tmp_path: Path, count: int) -> None:
    path = write_enhanced(tmp_path / "mr", ARRAY, GRID, modality="MR", study="1.2")
    dataset = pydicom.dcmread(path)
    groups = dataset.PerFrameFunctionalGroupsSequence
    dataset.PerFrameFunctionalGroupsSequence = [*groups, groups[0]][:count]
    dataset.save_as(path)
    index: Index = Dicom(tmp_path).index()
    assert index.entries == ()
    (problem,) = index.problems
    assert f"PerFrameFunctionalGroupsSequence describes {count} frames, but NumberOfFrames is 4" in problem.message
    assert problem.study_uid == "1.2"
