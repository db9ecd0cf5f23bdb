"""ResNet-18."""

from __future__ import annotations

from typing import Literal

from torch import nn

from medood.core.detector import ImageSpec
from medood.core.types import NonNegativeInt, PositiveInt
from medood.features.interface import fitting_size
from medood.features.resnet import ResidualNetwork, stages18
from medood.features.weights import Published


class ResNet18(ResidualNetwork):
    """ResNet-18 with the weights of a file: torchvision's for ImageNet, MoCo's or RadImageNet's.

    He et al., CVPR 2016, with the stride in the 3 x 3 convolutions as torchvision has it. Images are normalised as for ImageNet.

    weights  path of a file; "imagenet": the file resnet18-f37072fd.pth in the folder that MEDOOD_WEIGHTS names; "random": drawn with `seed`
    sha256   of the weights file; another file is refused
    size     (height, width) to which images are resized; null: 224 pixels along the shorter side
    layers   1 to 4 with 64, 128, 256 and 512 channels on grids of 1/4, 1/8, 1/16 and 1/32 of the size
    """

    words = {
        "imagenet": Published(
            "resnet18-f37072fd.pth",
            "f37072fd",
            "download torchvision's ResNet18_Weights.IMAGENET1K_V1 elsewhere and give its path as `features.weights`",
        )
    }

    def __init__(
        self,
        spec: ImageSpec,
        *,
        weights: str = "imagenet",
        sha256: str | None = None,
        size: tuple[PositiveInt, PositiveInt] | None = None,
        layers: tuple[Literal[1, 2, 3, 4], ...] = (2, 3),
        seed: NonNegativeInt = 0,
    ) -> None:
        size = fitting_size(spec, size, side=224)
        super().__init__(spec, weights=weights, sha256=sha256, size=size, layers=layers, seed=seed)

    @staticmethod
    def make() -> nn.Module:
        return stages18()
