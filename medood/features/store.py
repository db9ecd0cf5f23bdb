"""Features of images on disk, so that no network has to see an image twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medood.core.files.atomic import atomic_file


class FeatureStore:
    """One file of half precision per image and layer, named after the image's own values: training, calibration and every other detector
    on the same features find it.

    folder  of one extractor and its settings; several processes may share it
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def features(
        self, image: Tensor, shapes: Mapping[Any, tuple[int, int, int]], compute: Callable[[Tensor], list[Tensor]]
    ) -> list[Tensor]:
        """The layers of (B, C, H, W) images, read where they are known, computed and kept where not."""
        keys = [hashlib.blake2b(one.numpy().tobytes(), digest_size=16).hexdigest() for one in image.cpu().contiguous()]
        rows = [self._read(key, shapes) for key in keys]
        missing = [number for number, row in enumerate(rows) if row is None]
        if missing:
            made = zip(*(layer.cpu().half().numpy() for layer in compute(image[missing])), strict=True)
            for number, row in zip(missing, made, strict=True):
                rows[number] = row
                self._write(keys[number], shapes, row)
        layers = zip(*rows, strict=True)
        return [torch.from_numpy(np.stack(layer)).float().to(image.device) for layer in layers]

    def _read(self, key: str, shapes: Mapping[Any, tuple[int, int, int]]) -> Sequence[np.ndarray] | None:
        """Every layer of an image, or None when one is not there or damaged."""
        row = []
        for layer, shape in shapes.items():
            try:
                values = np.load(self._path(layer, key), allow_pickle=False)
            except (OSError, ValueError, EOFError):
                return None
            if values.shape != shape or values.dtype != np.float16:
                return None
            row.append(values)
        return row

    def _write(self, key: str, shapes: Mapping[Any, tuple[int, int, int]], row: Sequence[np.ndarray]) -> None:
        for layer, values in zip(shapes, row, strict=True):
            with atomic_file(self._path(layer, key)) as part:
                np.save(part, values)

    def _path(self, layer: Any, key: str) -> Path:
        return self.folder / str(layer) / key[:2] / f"{key}.npy"
