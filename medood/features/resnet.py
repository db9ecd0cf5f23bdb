"""What the residual networks have in common: MONAI's ResNet with the names of torchvision, whose files others publish."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from monai.networks.nets import resnet
from torch import Tensor, nn

from medood.features.network import FrozenNetwork

_PARTS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""RadImageNet's files count the parts of torchvision's network."""


class ResidualNetwork(FrozenNetwork):
    """Reads the files of torchvision, of MoCo (the query encoder, `module.encoder_q.`) and of RadImageNet (`backbone.0.`)."""

    def renamed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {re.sub(r"^((?:module\.)?backbone\.)([0-7])\.", _named, key): value for key, value in tensors.items()}


class Stages(nn.Module):
    """A ResNet of MONAI without its head, as a function to the grids of its stages."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        whole = make(spatial_dims=2, n_input_channels=3, conv1_t_stride=2, shortcut_type="B", bias_downsample=False, feed_forward=False)
        for part in ("conv1", "bn1", "maxpool", "act", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(part, getattr(whole, part))

    def forward(self, image: Tensor, layers: Sequence[int]) -> list[Tensor]:
        grids = {}
        for part in ("conv1", "bn1", "act", "maxpool"):
            image = self.get_submodule(part)(image)
        for layer in range(1, max(layers) + 1):
            image = grids[layer] = self.get_submodule(f"layer{layer}")(image)
        return [grids[layer] for layer in layers]


def stages18() -> nn.Module:
    return Stages(resnet.resnet18)


def stages50() -> nn.Module:
    return Stages(resnet.resnet50)


def _named(found: re.Match[str]) -> str:
    return found[1] + _PARTS.get(found[2], found[2]) + "."
