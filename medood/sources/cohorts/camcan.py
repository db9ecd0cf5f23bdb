"""The brains of healthy volunteers of the Cambridge Centre for Ageing and Neuroscience."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from medood.core.volume import Entry, Index, Volume
from medood.sources.cohorts.healthy_volumes import HealthyVolumes


class CamCAN:
    """T1 or T2 volumes of CamCAN; every slice is normal.

    ```
    root/sub-CC110033/anat/sub-CC110033_T2w.nii.gz      as released (BIDS), at any depth
    root/CC110033/T2w.nii.gz                            a folder for each volunteer
    root/CC110033_T2w_brain.nii.gz                      one folder for all
    ```
    The group is the volunteer, CC110033. Masks (`_mask`, `_seg`) are passed over.

    modality  the sequence
    """

    def __init__(self, root: Path, *, modality: Literal["t1", "t2"] = "t2") -> None:
        number = modality[1:]
        sequence = re.compile(rf"(?<![A-Za-z0-9])t{number}w?(?![A-Za-z0-9])", re.IGNORECASE)
        expected = f"sub-CC110033_T{number}w.nii.gz or CC110033/T{number}w.nii.gz"
        self.root = Path(root)
        self._volumes = HealthyVolumes(self.root, re.compile(r"(?<![A-Za-z0-9])(CC\d{6})(?!\d)"), sequence, expected)

    def index(self) -> Index:
        """Raises MedoodError when no volume of the sequence is found."""
        return self._volumes.index()

    def read(self, entry: Entry) -> Volume:
        return self._volumes.read(entry)
