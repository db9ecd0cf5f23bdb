"""A transforms file at work: volumes to images of one size and range, and maps back to the native grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from medood.core.detector import ImageSpec
from medood.core.errors import InputError
from medood.core.geometry import Geometry, Orientation, Raster, orientation_towards
from medood.core.volume import Volume
from medood.recipe import catalogue
from medood.recipe.recipe import Preparation
from medood.transforms.fit import Placement, placement


@dataclass(eq=False)
class Prepared:
    """A volume as images.

    images      float32 (n, channels, height, width) of the slices that are to be scored
    slices      (n,) their native slice indices
    labels      int8 (n,) 0, 1 or -1
    skipped     native slice index -> why it is not to be scored
    way         the turn and the placement that `restore` undoes
    raster      how far apart the images and their pixels lie
    body        bool, on the native grid: True in the body; None where the transforms do not look for it and nothing is padded
    """

    images: np.ndarray
    slices: np.ndarray
    labels: np.ndarray
    skipped: Mapping[int, str]
    way: Way
    raster: Raster
    body: np.ndarray | None = None

    @property
    def examined(self) -> float:
        """The share of the body, or of the volume where the body is not known, that the images show: 0..1."""
        axis, box = self.way.orientation.axes[0], self.way.box
        if self.body is None:
            shares = [(high - low) / size for i, ((low, high), size) in enumerate(zip(box, self.way.native, strict=True)) if i != axis]
            return float(np.prod(shares)) * len(self.slices) / self.way.native[axis]
        shown = np.moveaxis(self.body, axis, 0)[self.slices]
        inside = tuple(slice(*ends) for i, ends in enumerate(box) if i != axis)
        return float(np.count_nonzero(shown[(slice(None), *inside)]) / max(int(np.count_nonzero(self.body)), 1))


@dataclass(frozen=True)
class Way:
    """The spatial steps between a native grid of shape (slices, rows, columns) and the images."""

    native: tuple[int, int, int]
    orientation: Orientation
    placement: Placement

    @property
    def box(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """First and one past the last index along each native axis (slices, rows, columns) that the images show of a slice."""
        ends = [(0, self.native[axis]) for axis in range(3)]
        for turned, (size, region) in enumerate(zip(self.placement.native, self.placement.region, strict=True), 1):
            axis, low = self.orientation.axes[turned], max(0, (size - region) // 2)
            high = low + min(size, region)
            ends[axis] = (size - high, size - low) if self.orientation.flips[turned] else (low, high)
        return ends[0], ends[1], ends[2]

    def restore(self, maps: np.ndarray, slices: np.ndarray) -> np.ndarray:
        """(n, height, width) maps of the native slices `slices` -> float32 (slices, rows, columns) on the native grid, 0 elsewhere."""
        count = self.native[self.orientation.axes[0]]
        turned = np.zeros((count, *self.placement.native), np.float32)
        numbers = count - 1 - slices if self.orientation.flips[0] else slices
        turned[numbers] = self.placement.undo(maps)
        return np.ascontiguousarray(self.orientation.undo(turned))


class Pipeline:
    """Applies a transforms file. Every image it returns has the size and lies in the range that `spec` promises."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        self.spec = ImageSpec(preparation.channels, *preparation.size, *preparation.range, preparation.background)
        self._steps = compose(preparation.steps)

    def prepare(self, volume: Volume) -> Prepared:
        """Raises InputError if the volume has other channels than the transforms take, or a value that is not finite."""
        plan = self.preparation
        single = volume.geometry.shape[0] == 1  # a lone slice can only be shown as it is
        orientation = orientation_towards(volume.geometry, "native" if single else plan.plane)
        geometry = orientation.turn(volume.geometry)
        data = self._steps(_turned(volume, orientation))
        stack = np.asarray(data["image"], np.float32)
        self._check_channels(stack, volume)
        way = Way(volume.geometry.shape, orientation, placement(geometry, plan.size, plan.fit, plan.field_of_view))
        fill = plan.range[0] if plan.background is None else plan.background
        stack = way.placement.apply(stack, fill)
        foreground = data.get("foreground")
        body = None if foreground is None else way.placement.apply(np.asarray(foreground, np.float32), 0.0)[0] >= 0.5
        if body is not None and plan.background is not None:
            stack = np.where(body, stack, np.float32(plan.background))
        self._check_range(stack)
        found = None if foreground is None else np.asarray(foreground, bool)[0]
        return self._select(stack, body, volume, way, _native_body(found, volume, orientation))

    def _select(self, stack: np.ndarray, body: np.ndarray | None, volume: Volume, way: Way, native_body: np.ndarray | None) -> Prepared:
        """The slices with enough of the body in them, in native order."""
        plan, count = self.preparation, stack.shape[1]
        share = np.ones(count) if body is None else body.mean((1, 2)) / max(body.mean((1, 2)).max(), 1e-9)
        native = np.array([way.orientation.native_slice(k, way.native) for k in range(count)])
        keep = share >= plan.min_foreground
        why = f"the body fills less than {plan.min_foreground:.0%} of what it fills in the fullest slice"
        order = np.argsort(native[keep])
        labels = _slice_labels(volume, way)
        return Prepared(
            images=np.ascontiguousarray(stack.transpose(1, 0, 2, 3)[keep][order]),
            slices=native[keep][order],
            labels=labels[keep][order],
            skipped={int(k): why for k in sorted(native[~keep])},
            way=way,
            raster=_raster(volume.geometry, way),
            body=native_body,
        )

    def _check_channels(self, stack: np.ndarray, volume: Volume) -> None:
        if len(stack) == self.spec.channels:
            return
        kind = {1: "grey", 3: "RGB colour"}
        found, wanted = (kind.get(number, f"{number}-channel") for number in (len(stack), self.spec.channels))
        raise InputError(
            f"{volume.entry.id}: a {found} image where these transforms expect {wanted} images. "
            "Use a run that was trained on such images, or a transforms file with a `to_grey` or `to_rgb` step.",
            code="channels",
        )

    def _check_range(self, stack: np.ndarray) -> None:
        low, high = self.spec.low, self.spec.high
        found = float(stack.min()), float(stack.max())
        if not (found[0] >= low - 1e-5 and found[1] <= high + 1e-5):
            raise InputError(
                f"The transforms promise values from {low:g} to {high:g} but made {found[0]:g} to {found[1]:g}: "
                "add a `scale_range` step, or change its `low` and `high` or let it `clip`; or widen `range`.",
                code="range",
            )
        np.clip(stack, low, high, out=stack)


def compose(steps: Sequence[Any]) -> Compose:
    """The MONAI dictionary transforms that a list of `{name: {parameters}}` names."""
    cards = catalogue.steps()
    return Compose([cards[name].load()(**parameters) for step in steps for name, parameters in step.items()])


def augmentation(steps: Sequence[Any]) -> Callable[[dict[str, torch.Tensor], int], dict[str, torch.Tensor]] | None:
    """The random steps of a recipe's `augment`: a sample and a seed go in, the changed sample comes out, the same for the same seed."""
    if not steps:
        return None
    transform = compose(steps)

    def augment(sample: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
        transform.set_random_state(seed=seed)
        return transform(sample)

    return augment


def _turned(volume: Volume, orientation: Orientation) -> dict[str, Any]:
    data: dict[str, Any] = {"image": np.ascontiguousarray(orientation.apply(volume.image))}
    if volume.padding is not None:
        data["padding"] = np.ascontiguousarray(orientation.apply(volume.padding)[None])
    if volume.voi is not None and orientation.axes[0] == 0:  # a window belongs to a slice as it was acquired
        data["voi"] = list(volume.voi)[:: -1 if orientation.flips[0] else 1]
    return data


def _native_body(found: np.ndarray | None, volume: Volume, orientation: Orientation) -> np.ndarray | None:
    """Where the body is, on the native grid: as a step found it in the turned volume, and never where the scanner recorded nothing."""
    recorded = None if volume.padding is None else ~volume.padding
    if found is None:
        return recorded
    body = orientation.undo(found)
    return np.ascontiguousarray(body) if recorded is None else body & recorded


def _slice_labels(volume: Volume, way: Way) -> np.ndarray:
    """Labels of the turned slices. Cut another way than acquired, a slice is anomalous if its mask is, else unknown."""
    count = way.native[way.orientation.axes[0]]
    if way.orientation.axes[0] == 0:
        return volume.labels[::-1] if way.orientation.flips[0] else volume.labels
    if volume.mask is None:
        return np.full(count, -1, np.int8)
    return np.asarray(way.orientation.apply(volume.mask).any((1, 2)), np.int8)


def _raster(geometry: Geometry, way: Way) -> Raster:
    """Where millimetres are not known, a pixel of the images counts as one: pictures of many sizes are then treated alike."""
    dx, dy, dz = way.orientation.turn(geometry).spacing
    slice_mm = dz if geometry.in_patient and way.native[way.orientation.axes[0]] > 1 else None
    if not geometry.spacing_known:
        return Raster((1.0, 1.0), slice_mm, known=False)
    region, size = way.placement.region, way.placement.size
    return Raster((dy * region[0] / size[0], dx * region[1] / size[1]), slice_mm)
