"""The layouts of CamCAN and IXI in miniature."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medood.core.errors import MedoodError
from medood.sources.cohorts.camcan import CamCAN
from medood.sources.cohorts.ixi import IXI


def save(path: Path, value: int = 7) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full((6, 5, 3), value, np.int16), np.diag([-1.0, -1.0, 1.0, 1.0])), path)


def found(source: CamCAN | IXI) -> dict[str, str]:
    return {entry.id: entry.group for entry in source.index().entries}


def test_camcan_is_found_in_every_layout(tmp_path: Path) -> None:
    release = tmp_path / "cc700" / "mri" / "BIDS"
    for subject in ("CC110033", "CC110037"):
        for sequence in ("T1w", "T2w"):
            save(release / f"sub-{subject}" / "anat" / f"sub-{subject}_{sequence}.nii.gz", int(sequence[1]))
    save(tmp_path / "by_folder" / "CC220098" / "T2w.nii")
    save(tmp_path / "CC310001_T2w_brain.nii.gz")
    save(tmp_path / "CC310001_T2w_mask.nii.gz")
    assert found(CamCAN(tmp_path)) == {
        "cc700/mri/BIDS/sub-CC110033/anat/sub-CC110033_T2w.nii.gz": "CC110033",
        "cc700/mri/BIDS/sub-CC110037/anat/sub-CC110037_T2w.nii.gz": "CC110037",
        "by_folder/CC220098/T2w.nii": "CC220098",
        "CC310001_T2w_brain.nii.gz": "CC310001",
    }
    source = CamCAN(tmp_path, modality="t1")
    entries = source.index().entries
    assert [entry.group for entry in entries] == ["CC110033", "CC110037"]
    volume = source.read(entries[0])
    assert (volume.image == 1).all()
    assert volume.labels.tolist() == [0, 0, 0]


def test_ixi_is_found_by_file_and_by_folder_and_by_site(tmp_path: Path) -> None:
    for name in ("IXI002-Guys-0828", "IXI012-HH-1211", "IXI035-IOP-0873"):
        for sequence in ("T1", "T2", "PD"):
            save(tmp_path / f"IXI-{sequence}" / f"{name}-{sequence}.nii.gz")
    save(tmp_path / "folders" / "IXI100-Guys-0747" / "T2.nii.gz")
    assert found(IXI(tmp_path)) == {
        "IXI-T2/IXI002-Guys-0828-T2.nii.gz": "IXI002",
        "IXI-T2/IXI012-HH-1211-T2.nii.gz": "IXI012",
        "IXI-T2/IXI035-IOP-0873-T2.nii.gz": "IXI035",
        "folders/IXI100-Guys-0747/T2.nii.gz": "IXI100",
    }
    assert set(found(IXI(tmp_path, site="Guys")).values()) == {"IXI002", "IXI100"}
    assert set(found(IXI(tmp_path, modality="pd", site="IOP"))) == {"IXI-PD/IXI035-IOP-0873-PD.nii.gz"}
    assert {entry.label for entry in IXI(tmp_path).index().entries} == {0}


def test_the_sequences_of_one_volunteer_are_one_patient(tmp_path: Path) -> None:
    for sequence in ("T1", "T2"):
        save(tmp_path / f"IXI002-Guys-0828-{sequence}.nii.gz")
    assert set(found(IXI(tmp_path, modality="t1")).values()) == set(found(IXI(tmp_path)).values()) == {"IXI002"}


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    save(tmp_path / "IXI002-Guys-0828-T1.nii.gz")
    save(tmp_path / "scan_T1.nii.gz")
    (problem,) = IXI(tmp_path, modality="t1").index().problems
    assert (problem.path, problem.code) == ("scan_T1.nii.gz", "not_listed")
    with pytest.raises(MedoodError, match=r"IXI002-Guys-0828-T2\.nii\.gz or .*found other NIfTI files \(IXI002-Guys-0828-T1"):
        IXI(tmp_path).index()
    with pytest.raises(MedoodError, match="no volume of the site HH"):
        IXI(tmp_path, modality="t1", site="HH").index()
    with pytest.raises(MedoodError, match=r"sub-CC110033_T2w\.nii\.gz .*found other NIfTI"):
        CamCAN(tmp_path).index()
    with pytest.raises(MedoodError, match="found no NIfTI files"):
        CamCAN(tmp_path / "empty").index() if (tmp_path / "empty").mkdir() is None else None


def test_a_damaged_volume_does_not_end_the_folder(tmp_path: Path) -> None:
    save(tmp_path / "CC110033_T2w.nii.gz")
    (tmp_path / "CC110034_T2w.nii.gz").write_bytes(b"nothing")
    index = CamCAN(tmp_path).index()
    assert [entry.group for entry in index.entries] == ["CC110033"]
    assert [problem.path for problem in index.problems] == ["CC110034_T2w.nii.gz"]
