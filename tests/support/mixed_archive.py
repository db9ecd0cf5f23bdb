"""A folder with everything that sources treat in a way of its own, for what must find in it what they find."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from dicom_writer import image_dataset, save, write_series
from PIL import Image as Picture

STEPS = np.diag([-1.0, -1.0, 2.0, 1.0])
UID = "1.2.826.0.1.3680043.8.498."


def slices(count: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, (count, 8, 8)).astype(np.int16)


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.random.default_rng(seed).integers(0, 255, (6, 6), np.uint8)).save(path)


def volume(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values, np.eye(4)).to_filename(path)


def series(folder: Path, number: int, *, patient: str = "", study: int = 0, count: int = 4, **more: object) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}-{k}.dcm" for k in range(count)]
    uids = {"series": f"{UID}{number}", "study": f"{UID}9.{study or number}"}
    return write_series(folder, slices(count, number), STEPS, patient=patient or f"P{number}", names=names, **uids, **more)  # type: ignore[arg-type]


def mixed_archive(root: Path) -> Path:
    """Series of every kind of oddity, volumes, pictures, masks, and what cannot be used."""
    spread = series(root / "scan1", 1)
    (root / "z" / "elsewhere").mkdir(parents=True)
    shutil.move(spread[1], root / "z" / "elsewhere" / "slice")  # a series in two folders
    series(root / "two", 2)
    series(root / "two", 3, patient="P2")
    for path in series(root / "copies", 4)[:1]:
        shutil.copy(path, root / "again.dcm")
    series(root / "hole", 5, count=6)[3].unlink()
    series(root / "reused", 6, patient="A", study=61)
    series(root / "reused too", 6, patient="B", study=62)  # one series UID, two patients
    series(root / "echoes", 7, extra={"EchoTime": 10})
    for k, path in enumerate(series(root / "echoes" / "late", 7, extra={"EchoTime": 90})):
        path.rename(root / "echoes" / f"late-{k}.dcm")
    series(root, 8)
    (root / ".hidden").mkdir()
    series(root / ".hidden", 9)
    save(image_dataset(slices(1)[0], modality="DX", series=f"{UID}10", study=f"{UID}9.10", patient="P10"), root / "chest.dcm")
    (root / "cut.dcm").write_bytes((root / "chest.dcm").read_bytes()[:-40])
    noise = np.random.default_rng(0).normal(size=(5, 5, 3)).astype(np.float32)
    volume(root / "sub-01" / "flair.nii.gz", noise)
    volume(root / "sub-02" / "flair.nii.gz", (noise > 0).astype(np.uint8))  # by its content a mask
    volume(root / "sub-02" / "flair_seg.nii.gz", (noise > 0).astype(np.uint8))
    (root / "sub-02" / "broken.nii").write_bytes(b"no volume")
    for number in range(3):
        picture(root / "photos" / f"skin{number}.png", number)
    picture(root / "photos" / "skin1_mask.png")
    picture(root / "lonely_mask.png")
    picture(root / ".thumbnails" / "skin1.png")
    (root / "photos" / "empty.jpg").touch()
    (root / "notes.txt").write_text("some notes")
    (root / "data.zip").write_bytes(b"PK\x03\x04 and more")
    (root / "nowhere").symlink_to(root / "nothing")
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png")).write_bytes((root / "lonely_mask.png").read_bytes())
    return root
