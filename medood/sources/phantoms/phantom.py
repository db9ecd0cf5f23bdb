"""Generated images with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from medood.core.errors import MedoodError
from medood.core.geometry import Geometry, photograph_geometry
from medood.core.types import Fraction, NonNegativeInt, PositiveInt
from medood.core.volume import Entry, Index, Volume
from medood.sources.annotation import slice_labels
from medood.sources.phantoms.brain_phantom import Brain, make_brain
from medood.sources.phantoms.skin_phantom import make_skin


def smallest_lesion(affine: np.ndarray) -> int:
    """Lesion pixels that a slice may hold without being anomalous: 50 mm^2, as the 50 pixels of BraTS."""
    return round(50.0 / float(np.prod(np.linalg.norm(affine[:3, :2], axis=0))))


class Phantom:
    """Generated brains or skin with and without lesions, to try medood without any data; the folder is not used.

    The seed decides everything: the same parameters give the same images on every call. A brain is a skull-stripped FLAIR-like axial
    volume of 192 mm by 192 mm by 148 mm, skin is an RGB picture of a mole. Lesioned subjects are spread evenly over the numbers.

    kind      "brain": volumes; "skin": single RGB pictures
    subjects  how many
    size      rows and columns
    slices    of a brain
    lesions   share of the subjects that have one
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        kind: Literal["brain", "skin"] = "brain",
        subjects: PositiveInt = 20,
        size: PositiveInt = 96,
        slices: PositiveInt = 32,
        lesions: Fraction = 0.5,
        seed: NonNegativeInt = 0,
    ) -> None:
        if size < 32 or (kind == "brain" and slices < 8):
            raise MedoodError(f"A phantom needs a size of at least 32 and at least 8 slices, found {size} and {slices}.")
        self.root = Path() if root is None else Path(root)
        self.kind = kind
        self.subjects = subjects
        self.size = size
        self.slices = slices
        self.lesions = lesions
        self.seed = seed

    def index(self) -> Index:
        return Index(self.root, tuple(self._entry(number) for number in range(self.subjects)))

    def read(self, entry: Entry) -> Volume:
        number = int(entry.id.rpartition("_")[2])
        if self.kind == "skin":
            picture, mole = make_skin(self.seed, number, size=self.size, malignant=entry.label == 1)
            mask = mole[None] * np.uint8(entry.label == 1)
            return Volume(entry, picture[:, None], photograph_geometry(mask.shape), slice_labels(1, entry.label), mask)
        brain = self.brain(number)
        labels = slice_labels(self.slices, entry.label, brain.mask, smallest_lesion(brain.affine))
        return Volume(entry, brain.image[None], Geometry(brain.affine, brain.mask.shape), labels, brain.mask)

    def draws_mask(self, entry: Entry) -> bool:
        return entry.label == 1

    def brain(self, number: int) -> Brain:
        """The brain of a subject together with what is true of its lesion."""
        return make_brain(self.seed, number, size=self.size, slices=self.slices, lesions=(None,) * self._has_lesion(number))

    def _has_lesion(self, number: int) -> bool:
        return int((number + 1) * self.lesions + 1e-9) > int(number * self.lesions + 1e-9)

    def _entry(self, number: int) -> Entry:
        name = f"{self.kind}_{number:04d}"
        slices = 1 if self.kind == "skin" else self.slices
        return Entry(name, (), name, slices, label=int(self._has_lesion(number)))
