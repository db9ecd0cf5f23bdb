"""The brain tumour volumes of the BraTS challenges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from medood.core.errors import InputError, MedoodError
from medood.core.types import NonNegativeInt
from medood.core.volume import Entry, Index, Volume
from medood.sources.content import kind_of_name
from medood.sources.indexing import files_below, index_files
from medood.sources.mask_file import add_mask
from medood.sources.nifti import Nifti

_WEIGHTING = {"flair": "FLAIR", "t1": "T1", "t1ce": "T1", "t2": "T2"}
_NAME_OF_2023 = {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w"}


class Brats:
    """One modality of the BraTS releases with labels per slice from the tumour segmentation.

    ```
    root/BraTS19_2013_10_1/BraTS19_2013_10_1_flair.nii.gz         2018 to 2021, .nii too, also below HGG/ and LGG/
                           BraTS19_2013_10_1_seg.nii.gz
    root/BraTS-GLI-00005-100/BraTS-GLI-00005-100-t2f.nii.gz       2023 and later; 100 is a visit of patient 00005
                             BraTS-GLI-00005-100-seg.nii.gz
    root/BraTS2021_00000/BraTS2021_00000_flair.nii/00000_brain_flair.nii   a folder for each file, as on Kaggle
    ```
    A slice with more than `min_lesion` tumour voxels of any kind is anomalous, one without any is normal, those between are left out.
    Slices are those of the file's third axis. Without a segmentation all labels are unknown.

    exclude  names of subjects to leave out, for leave-one-out studies
    only     names of the only subjects to take; empty for all
    """

    def __init__(
        self,
        root: Path,
        *,
        modality: Literal["flair", "t1", "t1ce", "t2"] = "flair",
        min_lesion: NonNegativeInt = 50,
        exclude: tuple[str, ...] = (),
        only: tuple[str, ...] = (),
    ) -> None:
        self.root = Path(root)
        self.modality = modality
        self.min_lesion = min_lesion
        self.exclude = tuple(exclude)
        self.only = tuple(only)
        self._nifti = Nifti(self.root)

    def index(self) -> Index:
        """Raises MedoodError when no subject is found, or `exclude` or `only` names one that is not there."""
        folders: dict[Path, dict[str, Path]] = {}
        for path in files_below(self.root):
            if kind_of_name(path.name) == "nifti":
                called = path.parent if kind_of_name(path.parent.name) == "nifti" and path.parent != self.root else path
                folders.setdefault(called.parent, {}).setdefault(called.name, path)
        if not any(_volume(files, folder.name, self._endings) for folder, files in folders.items()):
            raise MedoodError(self._nothing_found(folders))
        self._check_names({folder.name for folder in folders})
        chosen = [f for f in folders if f.name not in self.exclude and (f.name in self.only or not self.only)]
        if not chosen:
            raise MedoodError("exclude and only leave no BraTS subject to read; name fewer in exclude or more in only.")
        return index_files(self.root, chosen, lambda folder: self._subject(folder, folders[folder]))

    def read(self, entry: Entry) -> Volume:
        volume = self._nifti.read(entry)
        if entry.mask is not None:
            add_mask(volume, entry.mask, label=entry.label, min_lesion=self.min_lesion)
        return volume

    @property
    def _endings(self) -> tuple[str, str]:
        return f"_{self.modality}", f"-{_NAME_OF_2023[self.modality]}"

    def _subject(self, folder: Path, files: Mapping[str, Path]) -> Entry:
        volume = _volume(files, folder.name, self._endings)
        if volume is None:
            found = ", ".join(list(files)[:4])
            raise InputError(f"{folder.name}: expected {folder.name}{self._endings[0]}.nii.gz, found {found}.", f"no_{self.modality}")
        entry = self._nifti.entry(volume)
        mask = _volume(files, folder.name, ("_seg", "-seg"))
        issues = entry.issues if mask else (*entry.issues, "no_labels")
        origin = replace(entry.origin, modality="MR", weighting=_WEIGHTING[self.modality])
        return replace(entry, group=_patient(folder.name), mask=mask, issues=issues, origin=origin)

    def _check_names(self, known: set[str]) -> None:
        for option, names in (("exclude", self.exclude), ("only", self.only)):
            for name in sorted(set(names) - known):
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise MedoodError(f"{option}: there is no BraTS subject {name} below {self.root}{hint}")

    def _nothing_found(self, folders: Iterable[Path]) -> str:
        found = ", ".join(sorted(folder.name for folder in folders)[:3])
        found = f"folders with other NIfTI files ({found})" if found else "no NIfTI files"
        return (
            f"{self.root}: no BraTS subject with {self.modality}: expected folders such as SUBJECT/SUBJECT{self._endings[0]}.nii.gz or "
            f"SUBJECT/SUBJECT{self._endings[1]}.nii.gz, found {found}; point root at the folder that holds the subjects."
        )


def _volume(files: Mapping[str, Path], subject: str, endings: tuple[str, str]) -> Path | None:
    """The file of a subject's folder that is called SUBJECT and one of the endings."""
    names = {f"{subject}{ending}{suffix}".lower() for ending in endings for suffix in (".nii", ".nii.gz")}
    return next((path for name, path in files.items() if name.lower() in names), None)


def _patient(subject: str) -> str:
    """Releases from 2023 on number the visits of a patient: BraTS-GLI-00005-100 and -101 are one."""
    visit = re.fullmatch(r"(BraTS-[A-Za-z]+-\d+)-\d{3}", subject)
    return visit.group(1) if visit else subject
