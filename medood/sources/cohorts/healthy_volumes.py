"""Volumes of healthy volunteers that are found by the names of their files or folders: one sequence, every slice normal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from medood.core.errors import MedoodError
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.content import kind_of_name
from medood.sources.indexing import files_below, index_files, name_of
from medood.sources.nifti import Nifti
from medood.sources.roles import is_named_mask


class HealthyVolumes:
    """One sequence of a cohort of healthy volunteers.

    subject   finds the volunteer in a path below the root, in its first group
    sequence  finds the name of the sequence in the name of a file
    expected  how the files are called, for a message
    """

    def __init__(self, root: Path, subject: re.Pattern[str], sequence: re.Pattern[str], expected: str) -> None:
        self.root, self.subject, self.sequence, self.expected = root, subject, sequence, expected
        self._nifti = Nifti(root)

    def index(self) -> Index:
        """Raises MedoodError when there is no volume of this sequence. Volumes that name no volunteer are problems; masks and other
        sequences are passed over."""
        volumes = [path for path in files_below(self.root) if kind_of_name(path.name) == "nifti"]
        chosen = [path for path in volumes if self.sequence.search(path.name) and not is_named_mask(name_of(path, self.root))]
        known = {path: found for path in chosen if (found := self._subject_of(path))}
        if not known:
            raise MedoodError(self._nothing_found(volumes))
        index = index_files(self.root, known, self._nifti.entry)
        message = f"Neither its name nor its folder names a volunteer; expected {self.expected}."
        lost = [Problem(name_of(path, self.root), "not_listed", message) for path in chosen if path not in known]
        entries = tuple(replace(entry, group=known[entry.files[0]], label=0) for entry in index.entries)
        return Index(self.root, entries, tuple(sorted((*index.problems, *lost), key=lambda problem: problem.path)))

    def read(self, entry: Entry) -> Volume:
        return self._nifti.read(entry)

    def _subject_of(self, path: Path) -> str | None:
        """As named closest to the file: release folders may be named alike."""
        found = self.subject.findall(name_of(path, self.root))
        return found[-1] if found else None

    def _nothing_found(self, volumes: Iterable[Path]) -> str:
        names = ", ".join(sorted(name_of(path, self.root) for path in volumes)[:3])
        found = f"other NIfTI files ({names})" if names else "no NIfTI files"
        return f"{self.root}: expected volumes such as {self.expected}, found {found}; point root at the folder that holds them."
