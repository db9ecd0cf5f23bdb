"""Near-copies: images that show the same picture, whatever was done to their files.

A perceptual hash is a small picture of an image without its broad shades; two images are near-copies when their hashes correlate. Measured
on 7,800 prepared radiographs, dermoscopy photographs and FLAIR slices: JPEG at quality 50 to 95, halving, doubling and ten more grey levels
leave a correlation of .989 and more, a tenth more contrast that clips or a gamma of 0.9 to 1.2 at least .987. Images of different patients
reach .970, FLAIR slices of one patient 5 mm apart .985; every pair above the limit was the same picture when looked at. Slices 1 mm apart
reach .999, so a slice of a volume must be closer to its copy than to its own neighbours. Written to files of their own and spread over
training and test, such slices are near-copies, and should be.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import interpolate

from medood.core.errors import RunError
from medood.core.files.atomic import atomic_file

SIDE = 20
NO_HASHES = np.zeros((0, SIDE * SIDE), np.int8)
ALIKE = 0.988
"""Hashes that correlate at least so much belong to one picture."""

_BROAD = 2.0  # Gaussian, in hash pixels, of the shades that are taken away: radiographs are alike in those
_FLAT = 0.002  # of the range of values: an image with less detail than this shows nothing
_ROUNDING = 2e-4  # what rounding a hash to whole numbers may take from a correlation
_BLOCK = 4096


def perceptual_hash(images: np.ndarray, spread: float) -> np.ndarray:
    """int8 (n, 400) of prepared images (n, channels, height, width) whose values lie in a range of width `spread`.

    Channels are averaged, pixels averaged to 20 x 20, broad shades taken away, contrast scaled to the full range of the numbers. All zero
    for an image without detail, which is a copy of nothing.
    """
    grey = torch.from_numpy(np.ascontiguousarray(images, np.float32)).mean(1, keepdim=True)
    small = interpolate(grey, (SIDE, SIDE), mode="area")[:, 0].numpy()
    detail = (small - ndimage.gaussian_filter(small, (0, _BROAD, _BROAD), mode="nearest")).reshape(len(small), SIDE * SIDE)
    detail -= detail.mean(1, keepdims=True)
    strength = np.abs(detail).max(1, keepdims=True)
    shows = detail.std(1, keepdims=True) > _FLAT * spread
    return np.rint(np.divide(127 * detail, strength, out=np.zeros_like(detail), where=shows)).astype(np.int8)


@dataclass(frozen=True, eq=False)
class HashedImages:
    """The images of some entries.

    hashes  int8 (n, 400);  owner  (n,) the number of each image's entry;  ids  of the entries
    """

    hashes: np.ndarray
    owner: np.ndarray
    ids: Sequence[str]

    def originals(self, copies: HashedImages) -> dict[str, str]:
        """Which entries of `copies` are near-copies of which entry here, by id.

        Of a volume at least half of its slices must be copies of slices of one entry, or half of that entry's slices must be among them.
        """
        originals = self.owners_of_originals(copies.hashes)
        near = originals >= 0
        pairs, counts = np.unique(np.stack([copies.owner[near], originals[near]]), axis=1, return_counts=True)
        enough = 2 * counts >= np.minimum(copies._images[pairs[0]], self._images[pairs[1]])
        best = np.argsort(counts[enough], kind="stable")  # of several originals the one with the most images is named
        return {copies.ids[copy]: self.ids[original] for copy, original in pairs[:, enough][:, best].T.tolist()}

    def owners_of_originals(self, hashes: np.ndarray) -> np.ndarray:
        """(n,) the number of the entry here that has the image of which each of hashes (n, 400) is a near-copy; -1 where there is none."""
        if not len(self.hashes) or not len(hashes):
            return np.full(len(hashes), -1)
        at, alike = nearest(directions(hashes), self._directions)
        return np.where(1 - alike <= self._limits[at], self.owner[at], -1)

    def original_of(self, owners: np.ndarray) -> str | None:
        """The id of the entry here that the images of one other entry are near-copies of, from the `owners_of_originals` of these (n,).

        The rule is that of `originals`.
        """
        named, counts = np.unique(owners[owners >= 0], return_counts=True)
        enough = 2 * counts >= np.minimum(len(owners), self._images[named])
        return self.ids[named[enough][counts[enough].argmax()]] if enough.any() else None

    @cached_property
    def _images(self) -> np.ndarray:
        """(entries,) how many images each has."""
        return np.bincount(self.owner, minlength=len(self.ids))

    @cached_property
    def _directions(self) -> np.ndarray:
        return directions(self.hashes)

    @cached_property
    def _limits(self) -> np.ndarray:
        """(n,) how far from 1 the correlation with a copy of each image may be: a fifth of how far that with
        the slices beside it is, at most. (A slice halfway between two is a quarter as far from them as they are from each other.)"""
        beside = np.where(np.diff(self.owner) == 0, 1 - (self._directions[1:] * self._directions[:-1]).sum(1), np.inf)
        nearest_slice = np.minimum(np.append(np.inf, beside), np.append(beside, np.inf))
        return np.clip(nearest_slice / 5, _ROUNDING, 1 - ALIKE)

    def save(self, path: Path) -> None:
        with atomic_file(path) as part, part.open("wb") as file:
            np.savez_compressed(file, hashes=self.hashes, owner=self.owner.astype(np.int32))

    @classmethod
    def load(cls, path: Path, ids: Sequence[str]) -> HashedImages:
        """What `save` wrote, of the entries `ids`. Raises RunError when the file cannot be read."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["hashes"], arrays["owner"].astype(int), ids)
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
            raise RunError(f"{path} cannot be read: restore the run folder from a copy, or train again.") from error


def nearest(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `ours` (n, 400) the row of the most alike of `theirs` (m, 400), and the correlation with it, (n,) each; both `directions`.

    A product of matrices in blocks of 64 MB: 10,000 with 10,000 take 1.5 s on one core.
    """
    at, best = np.zeros(len(ours), int), np.full(len(ours), -1.0, np.float32)
    for begin in range(0, len(theirs), _BLOCK):
        for start in range(0, len(ours), _BLOCK):
            block = slice(start, start + _BLOCK)
            alike = ours[block] @ theirs[begin : begin + _BLOCK].T
            top = alike.argmax(1)
            value = alike[np.arange(len(top)), top]
            better = value > best[block]
            at[block][better], best[block][better] = begin + top[better], value[better]
    return at, best


def directions(hashes: np.ndarray) -> np.ndarray:
    """Hashes as float32 vectors of mean 0 and length 1, so that products are correlations; without detail, of length 0."""
    values = hashes.astype(np.float32)
    values -= values.mean(1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)
