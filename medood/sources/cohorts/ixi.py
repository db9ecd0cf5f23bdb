"""The brains of healthy volunteers of the IXI collection, from three hospitals in London."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from medood.core.errors import MedoodError
from medood.core.volume import Entry, Index, Volume
from medood.sources.cohorts.healthy_volumes import HealthyVolumes


class IXI:
    """One sequence of IXI; every slice is normal.

    ```
    root/IXI-T2/IXI002-Guys-0828-T2.nii.gz      as released: a folder for each sequence, or all in one
    root/IXI002-Guys-0828/T2.nii.gz             a folder for each volunteer
    ```
    The group is the volunteer, IXI002. Three scanners: Guys (Philips 1.5 T), HH (Philips 3 T), IOP (GE 1.5 T). Masks are passed over.

    modality  the sequence
    site      only the volunteers of one hospital: one to train on, another as images of another scanner
    """

    def __init__(
        self, root: Path, *, modality: Literal["t1", "t2", "pd", "mra"] = "t2", site: Literal["all", "Guys", "HH", "IOP"] = "all"
    ) -> None:
        sequence = re.compile(rf"(?<![A-Za-z0-9]){modality}w?(?![A-Za-z0-9])", re.IGNORECASE)
        expected = f"IXI002-Guys-0828-{modality.upper()}.nii.gz or IXI002-Guys-0828/{modality.upper()}.nii.gz"
        self.root, self.site = Path(root), site
        self._volumes = HealthyVolumes(self.root, re.compile(r"(?<![A-Za-z0-9])(IXI\d{3})(?!\d)"), sequence, expected)

    def index(self) -> Index:
        """Raises MedoodError when no volume of the sequence, or of the site, is found."""
        index = self._volumes.index()
        if self.site == "all":
            return index
        there = re.compile(rf"IXI\d{{3}}-{self.site}(?![A-Za-z])")
        entries = tuple(entry for entry in index.entries if there.search(entry.id))
        if not entries:
            raise MedoodError(
                f"{self.root}: no volume of the site {self.site}; their names say it, as in IXI002-{self.site}-0828-T2.nii.gz."
            )
        return Index(index.root, entries, index.problems)

    def read(self, entry: Entry) -> Volume:
        return self._volumes.read(entry)
