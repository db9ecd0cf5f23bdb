"""DINOv2 ViT-S/14."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from medood.core.detector import ImageSpec
from medood.core.types import NonNegativeInt, PositiveInt
from medood.features.interface import fitting_size
from medood.features.network import FrozenNetwork
from medood.features.weights import Published

_WIDTH, _HEADS, _BLOCKS, _PATCH, _TRAINED = 384, 6, 12, 14, 37  # patches along each side at the size it was trained at, 518


class DINOv2ViTS14(FrozenNetwork):
    """DINOv2 ViT-S/14, a transformer that learned from photographs without labels; its patches tell tissues apart best of all.

    Oquab et al., TMLR 2024. Grids of tokens as the blocks leave them, 384 channels on 1/14 of the size.

    weights  path of the publisher's dinov2_vits14_pretrain.pth, of the same network in a safetensors or bin file of transformers, or of an
             ONNX file that holds it; "dinov2": dinov2_vits14_pretrain.pth in the folder that MEDOOD_WEIGHTS names; "random"
    sha256   of the weights file; another file is refused
    size     (height, width) to which images are resized, multiples of 14; null: 224 pixels along the shorter side
    layers   blocks 1 to 12
    """

    words = {
        "dinov2": Published(
            "dinov2_vits14_pretrain.pth",
            "",
            "download the publisher's file elsewhere and give its path as `features.weights`",
        )
    }

    def __init__(
        self,
        spec: ImageSpec,
        *,
        weights: str = "dinov2",
        sha256: str | None = None,
        size: tuple[PositiveInt, PositiveInt] | None = None,
        layers: tuple[Literal[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], ...] = (6, 9),
        seed: NonNegativeInt = 0,
    ) -> None:
        size = fitting_size(spec, size, side=224, step=_PATCH)
        super().__init__(spec, weights=weights, sha256=sha256, size=size, layers=layers, seed=seed)

    @staticmethod
    def make() -> nn.Module:
        return _Network()

    def renamed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return _of_transformers(tensors)


class _Network(nn.Module):
    """Without the last norm. The modules have the names of the publisher's file."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + _TRAINED**2, _WIDTH))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, _WIDTH, _PATCH, _PATCH)})
        self.blocks = nn.ModuleList(_Block() for _ in range(_BLOCKS))

    def forward(self, image: Tensor, layers: Sequence[int]) -> list[Tensor]:
        patches = self.patch_embed["proj"](image)
        grid = patches.shape[2:]
        tokens = torch.cat([self.cls_token.expand(len(image), -1, -1), patches.flatten(2).transpose(1, 2)], 1) + self._positions(grid)
        grids = {}
        for number, block in enumerate(self.blocks[: max(layers)], 1):
            tokens = block(tokens)
            if number in layers:
                grids[number] = tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
        return [grids[layer] for layer in layers]

    def _positions(self, grid: Sequence[int]) -> Tensor:
        """(1, 1 + h * w, width), interpolated from the grid that the network was trained on."""
        if tuple(grid) == (_TRAINED, _TRAINED):
            return self.pos_embed
        square = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (_TRAINED, _TRAINED))
        return torch.cat([self.pos_embed[:, :1], interpolate(square, tuple(grid), mode="bicubic").flatten(2).transpose(1, 2)], 1)


class _Block(nn.Module):
    """Attention and perceptron, each with a norm before it and a scale behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(_WIDTH, eps=1e-6), nn.LayerNorm(_WIDTH, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(_WIDTH, 3 * _WIDTH), "proj": nn.Linear(_WIDTH, _WIDTH)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(_WIDTH, 4 * _WIDTH), "fc2": nn.Linear(4 * _WIDTH, _WIDTH)})
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": torch.ones(_WIDTH)}) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.attn["qkv"](self.norm1(tokens)).unflatten(2, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.attn["proj"](seen) * self.ls1["gamma"]
        return tokens + self.mlp["fc2"](gelu(self.mlp["fc1"](self.norm2(tokens)))) * self.ls2["gamma"]


def _of_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of the library transformers, and of networks exported with it, as the publisher has them."""
    patterns = (
        (r"^.*embeddings\.cls_token$", "cls_token"),
        (r"^.*embeddings\.position_embeddings$", "pos_embed"),
        (r"^.*embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^.*encoder\.layer\.(\d+)\.", r"blocks.\1."),
        (r"attention\.output\.dense\.", "attn.proj."),
        (r"layer_scale(\d)\.lambda1$", r"ls\1.gamma"),
    )
    for pattern, name in patterns:
        tensors = {re.sub(pattern, name, key): value for key, value in tensors.items()}
    for number in range(_BLOCKS):
        for kind in ("weight", "bias"):
            names = [f"blocks.{number}.attention.attention.{part}.{kind}" for part in ("query", "key", "value")]
            parts = [tensors[name] for name in names if name in tensors]
            if len(parts) == 3:
                tensors[f"blocks.{number}.attn.qkv.{kind}"] = torch.cat(parts)
    if "pos_embed" not in tensors:  # exported: cut in two, without names
        unnamed = {tuple(value.shape): value for key, value in tensors.items() if key.startswith("onnx::")}
        first, rest = unnamed.get((1, 1, _WIDTH)), unnamed.get((1, _TRAINED**2, _WIDTH))
        if first is not None and rest is not None:
            tensors["pos_embed"] = torch.cat([first, rest], 1)
    return tensors
