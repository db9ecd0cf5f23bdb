"""Random views of an image, of which a network learns that they show the same."""

from __future__ import annotations

import torch
from monai.transforms import Compose, RandAdjustContrast, RandFlip, RandGaussianSmooth, RandScaleCrop, RandShiftIntensity, Resize
from torch import Tensor
from torch.nn.functional import interpolate


class Views:
    """A part of the image at the network's size, perhaps mirrored, with other contrast and brightness, perhaps blurred.

    As for MoCo v2 (Chen et al., 2020) without what concerns colours, and milder: what is abnormal is often a matter of grey levels.

    size      (height, width) of the views
    smallest  least share of the image's sides that a view shows
    flip      whether views may be mirrored left to right
    shrunk    (height, width) to which images are reduced first, so that a network gets used to small images that were enlarged for it
              ("Anomaly Detection using Normalizing Flows and Contrastive Data", 2022, "MOCO Finetuning"); None: they stay as they are
    """

    def __init__(self, size: tuple[int, int], *, smallest: float, flip: bool, shrunk: tuple[int, int] | None = None) -> None:
        self.shrunk = shrunk
        self._change = Compose(
            [
                RandGaussianSmooth(prob=0.5, sigma_x=(0.1, 2.0), sigma_y=(0.1, 2.0)),  # first: it darkens the borders of what it sees
                RandScaleCrop(roi_scale=smallest, max_roi_scale=1.0, random_center=True, random_size=True),
                Resize(spatial_size=size, mode="bilinear", anti_aliasing=False),
                RandFlip(prob=0.5 if flip else 0.0, spatial_axis=1),
                RandAdjustContrast(prob=0.8, gamma=(0.7, 1.4)),
                RandShiftIntensity(prob=0.8, offsets=0.1),
            ]
        )

    def __call__(self, unit: Tensor) -> Tensor:
        """(B, C, *size) of images (B, C, H, W) with values 0..1; what is random follows torch's generator."""
        if self.shrunk is not None:
            unit = interpolate(unit, self.shrunk, mode="area")
        self._change.set_random_state(seed=int(torch.randint(2**31, ())))
        return torch.stack([torch.as_tensor(self._change(image)).as_subclass(Tensor) for image in unit.cpu()]).to(unit.device)
