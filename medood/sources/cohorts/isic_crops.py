"""Crops of skin and of lesions from the photographs of ISIC 2016, the samples of Patch-GAN."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import photograph_geometry
from medood.core.types import Fraction, NonNegativeInt, PositiveInt
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.cohorts.publisher_table import check_present
from medood.sources.image import Image, read_pages
from medood.sources.indexing import files_below, index_files

_SIDE = 32
_PARTS = {"ISBI2016_ISIC_Part1_Training": None, "ISBI2016_ISIC_Part1_Test": "test"}


class IsicCrops:
    """Crops of 32 x 32 pixels of ISIC 2016 photographs in their published size: skin is normal, lesion is anomalous.

    ```
    root/ISBI2016_ISIC_Part1_Training_Data/ISIC_0000000.jpg
         ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_0000000_Segmentation.png      and the same with Test
    ```
    The task behind the numbers of Patch-GAN (Chen et al., AAAI 2025), as the first author's public scripts cut it: a grid inside the
    photograph. Benign and malignant lesions are both anomalous, and the skin is that of patients with lesions. The paper counts 34,104
    normal crops for training; here every photograph gives equally many, the publisher's test part is for testing only, and nothing is
    taken out afterwards. A photograph is a volume whose slices are its crops, and a group.

    crops      how many of a photograph, drawn from the grid with `seed`
    border     pixels on each side of the photograph that are left out
    skin       a crop with no more lesion than this share is normal
    lesion     one with at least this share is anomalous; crops between the two are left out
    """

    def __init__(
        self,
        root: Path,
        *,
        crops: PositiveInt = 64,
        border: NonNegativeInt = 200,
        skin: Fraction = 0.12,
        lesion: Fraction = 0.75,
        seed: NonNegativeInt = 0,
    ) -> None:
        if skin >= lesion:
            raise MedoodError(f"A crop is skin up to a smaller share of lesion than it is lesion from, found {skin:g} and {lesion:g}.")
        self.root = Path(root)
        self.crops = crops
        self.border = border
        self.skin = skin
        self.lesion = lesion
        self.seed = seed
        self._image = Image(self.root)

    def index(self) -> Index:
        """Raises MedoodError when a folder is missing; a photograph without its segmentation is a problem."""
        here = [name for name in _PARTS if any((self.root / f"{name}_{kind}").is_dir() for kind in ("Data", "GroundTruth"))]
        entries: list[Entry] = []
        problems: list[Problem] = []
        for name in here or list(_PARTS):
            check_present(self.root, (f"{name}_Data", f"{name}_GroundTruth"), "ISIC 2016, part 1,")
            photographs = [path for path in files_below(self.root / f"{name}_Data") if path.suffix.lower() in (".jpg", ".jpeg")]
            found = index_files(self.root, photographs, self._image.entry)
            problems += found.problems
            for entry in found.entries:
                stem = entry.files[0].stem
                mask = self.root / f"{name}_GroundTruth" / f"{stem}_Segmentation.png"
                if mask.is_file():
                    size = entry.files[0].stat().st_size / self.crops  # not that of the segmentation, which shows the lesion
                    files = entry.files[0], mask
                    entries.append(replace(entry, files=files, group=stem, slices=self.crops, part=_PARTS[name], bytes_per_image=size))
                else:
                    problems.append(Problem(entry.id, "no_mask", f"There is no {mask.name} in {name}_GroundTruth; it is left out."))
        return Index(self.root, tuple(sorted(entries, key=lambda e: e.id)), tuple(sorted(problems, key=lambda p: p.path)))

    def read(self, entry: Entry) -> Volume:
        """Raises InputError when the photograph is too small or its segmentation is of another size."""
        image, issues = read_pages(entry.files[0], entry.id)
        lesion = read_pages(entry.files[1], f"{entry.id} (its segmentation)")[0].max(axis=0) > 127
        if image.shape[1:] != lesion.shape:
            raise InputError(f"{entry.id}: the photograph and its segmentation differ in size; download both again.", "mask_grid")
        chosen = self._chosen(entry, image.shape[2:])
        crops, mask = (self._cut(array)[:, chosen] for array in (image, lesion[:1]))
        share = mask[0].mean((1, 2))
        labels = np.where(share >= self.lesion, 1, np.where(share <= self.skin, 0, -1)).astype(np.int8)
        if (labels < 0).all():
            raise InputError(f"{entry.id}: none of its crops is all skin or all lesion.", "no_labels")
        return Volume(entry, crops, photograph_geometry(crops.shape[1:]), labels, mask[0].astype(np.uint8), issues=issues)

    def _chosen(self, entry: Entry, shape: tuple[int, int]) -> np.ndarray:
        """(crops,) numbers of cells, row by row, the same on every call."""
        down, across = (max(length - 2 * self.border, 0) // _SIDE for length in shape)
        if down * across < self.crops:
            size = f"{shape[0]} x {shape[1]}"
            raise InputError(f"{entry.id}: {size} pixels hold {down * across} of {self.crops} crops; use the published size.", "too_small")
        random = np.random.default_rng([self.seed, zlib.crc32(entry.files[0].stem.encode())])
        return np.sort(random.choice(down * across, self.crops, replace=False))

    def _cut(self, array: np.ndarray) -> np.ndarray:
        """(channels, 1, rows, columns) or (1, rows, columns) to (channels, cells, 32, 32)."""
        planes = array.reshape(-1, *array.shape[-2:])
        down, across = ((length - 2 * self.border) // _SIDE for length in planes.shape[1:])
        inner = planes[:, self.border : self.border + down * _SIDE, self.border : self.border + across * _SIDE]
        cells = inner.reshape(len(planes), down, _SIDE, across, _SIDE).swapaxes(2, 3)
        return cells.reshape(len(planes), down * across, _SIDE, _SIDE)
