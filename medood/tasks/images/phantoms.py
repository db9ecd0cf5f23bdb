"""A folder of generated brains to try every command on: NIfTI to train on, a DICOM series to score, and the truth about both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medood.core.errors import MedoodError
from medood.core.files.atomic import atomic_folder, write_json
from medood.core.volume import Entry
from medood.evaluation.label_file import write_label_rows
from medood.sources.annotation import slice_labels
from medood.sources.cohorts.brats import Brats
from medood.sources.dicom.library import pydicom
from medood.sources.folder import Folder
from medood.sources.phantoms.brain_phantom import Brain, make_brain
from medood.sources.phantoms.phantom import Phantom, smallest_lesion

_MR_IMAGE_STORAGE = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.4")
_EXPLICIT_LITTLE_ENDIAN = pydicom.uid.UID("1.2.840.10008.1.2.1")
_TRUTH = "truth.json"


def write_phantoms(out: str | Path, *, subjects: int = 24, seed: int = 0, size: int = 96, slices: int = 32, lesions: float = 0.5) -> None:
    """Make the folder `out`, replacing phantoms that were there before.

    ```
    out/nifti/phantom_0000/phantom_0000_flair.nii.gz    `subjects` volumes, a share of `lesions` with a lesion, laid out like BraTS
                           phantom_0000_seg.nii.gz      1 in the lesion
    out/dicom/unseen/                                   one more subject, with a bright, a dark and a coarse lesion, as an MR series with
                                                        shuffled file names
    out/masks/unseen_seg.nii.gz                         its lesions on the grid of the series
    out/labels.csv                                      labels of both; ids count from nifti/ and from dicom/
    out/truth.json                                      kind, centre (RAS mm), radius (mm) and size of every lesion
    ```
    Raises MedoodError when `out` holds anything else, so that nothing of value is replaced.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and ((out / _TRUTH).is_file() or not any(out.iterdir()))):
        raise MedoodError(f"{out} holds something else than phantoms and would be replaced; choose a new folder.")
    phantom = Phantom(subjects=subjects, size=size, slices=slices, lesions=lesions, seed=seed)
    unseen = make_brain(seed, subjects, size=size, slices=slices, lesions=("hyper", "hypo", "texture"))
    with atomic_folder(out) as part:
        truth = [_write_subject(part / "nifti", f"phantom_{number:04d}", phantom.brain(number)) for number in range(subjects)]
        _write_series(part / "dicom" / "unseen", unseen, seed)
        _write_nifti(part / "masks" / "unseen_seg.nii.gz", unseen.mask, unseen.affine)
        write_label_rows(part / "labels.csv", _labelled(part, unseen), mask_base=part)
        write_json(part / _TRUTH, {"seed": seed, "subjects": [*truth, _truth("dicom/unseen", unseen)]})


def _labelled(root: Path, unseen: Brain) -> Iterator[tuple[Entry, np.ndarray]]:
    least = smallest_lesion(unseen.affine)
    brats = Brats(root / "nifti", min_lesion=least)
    for entry in brats.index().entries:
        yield entry, brats.read(entry).labels
    (series,) = Folder(root / "dicom").index().entries
    entry = replace(series, label=1, mask=root / "masks" / "unseen_seg.nii.gz")
    yield entry, slice_labels(entry.slices, entry.label, unseen.mask, least)


def _write_subject(folder: Path, name: str, brain: Brain) -> dict[str, Any]:
    _write_nifti(folder / name / f"{name}_flair.nii.gz", _stored(brain), brain.affine)
    _write_nifti(folder / name / f"{name}_seg.nii.gz", brain.mask, brain.affine)
    return _truth(f"nifti/{name}", brain)


def _truth(path: str, brain: Brain) -> dict[str, Any]:
    lesions = [{"kind": x.kind, "centre_ras_mm": x.centre, "radius_mm": x.radius, "voxels": x.voxels} for x in brain.lesions]
    return {"path": path, "lesions": lesions}


def _stored(brain: Brain) -> np.ndarray:
    return np.clip(brain.image.round(), 0, np.iinfo(np.int16).max).astype(np.int16)


def _write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(array.T, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def _write_series(folder: Path, brain: Brain, seed: int) -> None:
    """A single-frame MR series; the order of the file names says nothing about the order of the slices."""
    folder.mkdir(parents=True)
    pixels = _stored(brain).astype(np.uint16)
    uids = {name: pydicom.uid.generate_uid(entropy_srcs=["medood phantom", str(seed), name]) for name in ("study", "series", "frame")}
    numbers = np.random.default_rng(seed).permutation(len(pixels))
    for k, number in enumerate(numbers.tolist()):
        dataset = _slice(brain.affine, pixels[k], k, uids)
        dataset.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["medood phantom", str(seed), f"slice {k}"])
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(folder / f"IM{number:04d}.dcm", enforce_file_format=True)


def _slice(affine: np.ndarray, pixels: np.ndarray, k: int, uids: dict[str, pydicom.uid.UID]) -> pydicom.Dataset:
    """One slice by the MR Image IOD (PS3.3 A.4); DICOM's patient axes are LPS, those of the affine RAS."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    across, down, through = (lps[:3, i] for i in range(3))
    spacing = [float(np.linalg.norm(step)) for step in (across, down, through)]
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = _MR_IMAGE_STORAGE
    dataset.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    for keyword, value in (_IDENTITY | _ACQUISITION | _PIXELS).items():
        setattr(dataset, keyword, value)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = uids["study"], uids["series"], uids["frame"]
    dataset.InstanceNumber = k + 1
    dataset.ImagePositionPatient = _decimals(lps[:3] @ [0, 0, k, 1])
    dataset.ImageOrientationPatient = _decimals([*across / spacing[0], *down / spacing[1]])
    dataset.PixelSpacing = _decimals([spacing[1], spacing[0]])
    dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimals([spacing[2]])[0]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.astype("<u2").tobytes()
    return dataset


def _decimals(values: Any) -> list[str]:
    """Decimal strings of at most 16 characters (PS3.5 6.2)."""
    return [pydicom.valuerep.format_number_as_ds(float(value)) for value in values]


_IDENTITY = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientName": "Phantom^Unseen",
    "PatientID": "PHANTOM",
    "PatientBirthDate": "",
    "PatientSex": "O",
    "StudyDate": "",
    "StudyTime": "",
    "StudyID": "1",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "Manufacturer": "medood",
    "SeriesNumber": 1,
    "SeriesDescription": "Generated FLAIR",
    "PositionReferenceIndicator": "",
}
_ACQUISITION = {
    "Modality": "MR",
    "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
    "BodyPartExamined": "BRAIN",
    "PatientPosition": "HFS",
    "ScanningSequence": ["SE", "IR"],
    "SequenceVariant": "SK",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "RepetitionTime": 9000,
    "EchoTime": 120,
    "EchoTrainLength": 16,
    "InversionTime": 2500,
}
_PIXELS = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 0,
    "BurnedInAnnotation": "NO",
}
