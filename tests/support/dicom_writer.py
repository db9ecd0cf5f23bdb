"""Writes synthetic DICOM files of known content. Every file is full of identifiers that must never come out: SECRET."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medood.core.geometry import Geometry

SECRET = "Secret^Name"
IDENTIFIERS = {
    "PatientName": SECRET,
    "PatientBirthDate": "19700131",
    "AccessionNumber": SECRET,
    "InstitutionName": SECRET,
    "ReferringPhysicianName": SECRET,
    "OperatorsName": SECRET,
    "StudyID": SECRET,
    "StudyDescription": SECRET,
    "SeriesDescription": SECRET,
    "PatientComments": SECRET,
    "DeviceSerialNumber": SECRET,
}
SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "US": "1.2.840.10008.5.1.4.1.1.3.1",
    "XC": "1.2.840.10008.5.1.4.1.1.77.1.4",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
Extra = Mapping[str, Any] | Callable[[int], Mapping[str, Any]]


def write_series(
    folder: Path,
    array: np.ndarray,
    geometry: Geometry | np.ndarray,
    *,
    modality: str = "CT",
    series: str | None = None,
    study: str | None = None,
    patient: str = SECRET,
    names: Sequence[str] | None = None,
    skip: Iterable[int] = (),
    syntax: str = ExplicitVRLittleEndian,
    extra: Extra | None = None,
    **image: Any,
) -> list[Path]:
    """One file per slice of `array` (slices, rows, columns), or (slices, rows, columns, 3) for RGB; returns them in the order of slices.

    `geometry` (or its affine: index (column, row, slice) to RAS mm) gives positions, orientation and spacing. Slices in `skip` are not
    written. `extra` are further elements by keyword, or a function from the slice number to such; None deletes an element. `image` goes to
    `image_dataset`.
    """
    affine = geometry.affine if isinstance(geometry, Geometry) else np.asarray(geometry, float)
    study = study or _study_of(series)
    series = series or generate_uid()
    written = []
    for k, pixels in enumerate(array):
        dataset = image_dataset(pixels, modality=modality, series=series, study=study, patient=patient, **image)
        dataset.update(place(affine, k))
        dataset.InstanceNumber = k + 1
        _set(dataset, extra(k) if callable(extra) else extra or {})
        path = folder / (names[k] if names else f"{k:04d}.dcm")
        if k not in set(skip):
            save(dataset, path, syntax)
            written.append(path)
    return written


def write_image(path: Path, pixels: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, extra: Extra | None = None, **image: Any) -> Path:
    """One object without a place in the patient: (rows, columns), (rows, columns, 3), or with frames in front and `frames=True`."""
    dataset = image_dataset(pixels, **image)
    _set(dataset, extra or {})
    save(dataset, path, syntax)
    return path


def write_enhanced(
    path: Path,
    array: np.ndarray,
    geometry: Geometry | np.ndarray,
    *,
    modality: str = "CT",
    order: Sequence[int] | None = None,
    frame_extra: Callable[[int], Mapping[str, Mapping[str, Any]]] | None = None,
    syntax: str = ExplicitVRLittleEndian,
    extra: Extra | None = None,
    **image: Any,
) -> Path:
    """A multi-frame object (PS3.3 C.7.6.16) of `array` (frames, rows, columns), its frames stored in the given order.

    `frame_extra` maps the number of a slice to further functional groups: sequence keyword to elements.
    """
    affine = geometry.affine if isinstance(geometry, Geometry) else np.asarray(geometry, float)
    order = list(range(len(array)) if order is None else order)
    dataset = image_dataset(np.stack([array[k] for k in order]), modality=modality, frames=True, **image)
    dataset.SOPClassUID = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}[modality]
    dataset.FrameOfReferenceUID = generate_uid()
    frames = []
    for number, k in enumerate(order):
        where = place(affine, k)
        groups = {
            "PlanePositionSequence": {"ImagePositionPatient": where.ImagePositionPatient},
            "PlaneOrientationSequence": {"ImageOrientationPatient": where.ImageOrientationPatient},
            "PixelMeasuresSequence": {"PixelSpacing": where.PixelSpacing, "SliceThickness": where.SliceThickness},
            "FrameContentSequence": {"DimensionIndexValues": [number + 1]},
        } | {name: dict(content) for name, content in (frame_extra(k) if frame_extra else {}).items()}
        frame = Dataset()
        for name, content in groups.items():
            _set(frame, {name: DicomSequence([_set(Dataset(), content)])})
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    dataset.SharedFunctionalGroupsSequence = DicomSequence([Dataset()])
    _set(dataset, extra or {})
    save(dataset, path, syntax)
    return path


def image_dataset(
    pixels: np.ndarray,
    *,
    modality: str = "OT",
    series: str | None = None,
    study: str | None = None,
    patient: str = SECRET,
    frames: bool = False,
    bits: int | None = None,
    photometric: str | None = None,
) -> Dataset:
    """A data set with native pixels: unsigned, signed, or floating (then FloatPixelData or DoubleFloatPixelData)."""
    colour = pixels.ndim == 4 - (not frames)
    dataset = _set(Dataset(), IDENTIFIERS)
    dataset.PatientID = patient
    dataset.SOPClassUID = SOP_CLASSES[modality]
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study or _study_of(series), series or generate_uid()
    dataset.Modality, dataset.Manufacturer = modality, "Phantom Works"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Rows, dataset.Columns = pixels.shape[1:3] if frames else pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = photometric or ("RGB" if colour else "MONOCHROME2")
    if colour:
        dataset.PlanarConfiguration = 0
    if frames:
        dataset.NumberOfFrames = len(pixels)
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    if pixels.dtype.kind == "f":
        setattr(dataset, "FloatPixelData" if pixels.dtype.itemsize == 4 else "DoubleFloatPixelData", pixels.tobytes())
        return dataset
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    content = pixels.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    return dataset


def _study_of(series: str | None) -> str:
    """A study for a series: the same whenever it is written to."""
    return f"{series}.1" if series else generate_uid()


def place(affine: np.ndarray, k: int) -> Dataset:
    """Position, orientation and spacing of slice k of a grid in RAS+ mm, as DICOM states them."""
    lps = _LPS @ affine
    columns, rows = np.linalg.norm(lps[:3, 0]), np.linalg.norm(lps[:3, 1])
    dataset = Dataset()
    dataset.ImagePositionPatient = [f"{v:.9g}" for v in (lps @ [0, 0, k, 1])[:3]]
    dataset.ImageOrientationPatient = [f"{v:.9g}" for v in (*lps[:3, 0] / columns, *lps[:3, 1] / rows)]
    dataset.PixelSpacing = [f"{rows:.9g}", f"{columns:.9g}"]
    dataset.SliceThickness = f"{np.linalg.norm(lps[:3, 2]):.9g}"
    return dataset


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    """Writes a native data set in the wanted transfer syntax, compressed if it asks for that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax in ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"):
        dataset.save_as(path, enforce_file_format=True)
        _compress_with_gdcm(path, syntax)
        return
    if syntax == "1.2.840.10008.1.2.4.50":
        _compress_with_pillow(dataset)
    elif pydicom.uid.UID(syntax).is_encapsulated:
        # keep the UID: pydicom gives lossy results a new one
        uid = dataset.SOPInstanceUID
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.SOPInstanceUID = uid
    elif syntax == "1.2.840.10008.1.2.2":
        _swap_bytes(dataset)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.save_as(path, enforce_file_format=True)


def _set(dataset: Dataset, elements: Mapping[str, Any]) -> Dataset:
    for keyword, value in elements.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def _swap_bytes(dataset: Dataset) -> None:
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset and dataset.BitsAllocated > 8:
            words = np.frombuffer(dataset[keyword].value, dtype=f"u{dataset.BitsAllocated // 8}")
            dataset[keyword].value = words.byteswap().tobytes()


def _compress_with_pillow(dataset: Dataset) -> None:
    from PIL import Image

    frames = []
    for frame in np.atleast_3d(dataset.pixel_array)[None] if not dataset.get("NumberOfFrames") else dataset.pixel_array:
        file = io.BytesIO()
        Image.fromarray(frame.squeeze()).save(file, format="JPEG", quality=95, subsampling=0)
        frames.append(file.getvalue())
    if dataset.SamplesPerPixel == 3:
        dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.LossyImageCompression = "01"
    dataset.PixelData = pydicom.encaps.encapsulate(frames)
    dataset["PixelData"].VR = "OB"


def _compress_with_gdcm(path: Path, syntax: str) -> None:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
