"""The convolutional coder and drawer that the baselines of Golan and El-Yaniv share (NeurIPS 2018, after Radford et al., ICLR 2016)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from medood.core.detector import ImageSpec
from medood.nets.halvings import halvings

Norm = Callable[[int], nn.Module]


def over_the_image(channels: int) -> nn.Module:
    """Layer norm over channels and pixels of one image: unlike batch norm it leaves what is computed of an image, and its derivatives,
    independent of the others in a batch."""
    return nn.GroupNorm(1, channels)


def coder(spec: ImageSpec, who: str, width: int, outputs: int, *, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """Images (B, *spec.shape) in -1..1 to (B, outputs): 3 x 3 convolutions of stride 2 down to a shorter side of 4 to 7 pixels, with
    width, 2 width .. 8 width channels, and a linear layer with nothing after it. Raises MedoodError for sides that cannot be halved so."""
    widths, grid = _plan(spec, who, width)
    layers: list[nn.Module] = []
    for a, b in pairwise((spec.channels, *widths)):
        layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), norm(b), nn.ReLU()]
    return glorot(nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * grid[0] * grid[1], outputs)))


def drawer(spec: ImageSpec, who: str, width: int, inputs: int) -> nn.Sequential:
    """(B, inputs) to images in -1..1: the mirror of `coder`, a hyperbolic tangent at its end."""
    widths, grid = _plan(spec, who, width)
    back = widths[::-1]
    layers: list[nn.Module] = [
        nn.Linear(inputs, back[0] * grid[0] * grid[1], bias=False),
        nn.Unflatten(1, (back[0], *grid)),
        nn.BatchNorm2d(back[0]),
        nn.ReLU(),
    ]
    for a, b in pairwise(back):
        layers += [nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    last = nn.ConvTranspose2d(back[-1], spec.channels, 3, 2, 1, output_padding=1)
    return glorot(nn.Sequential(*layers, last, nn.Tanh()))


def glorot(network: nn.Sequential) -> nn.Sequential:
    """The network with the first weights of Glorot and Bengio, AISTATS 2010, and biases of 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def norms(values: Tensor, floor: float = 0.0) -> Tensor:
    """(B,) Euclidean lengths of images (B, C, H, W), never below `floor`, with derivatives that are finite at 0 too."""
    return values.square().sum((1, 2, 3)).clamp(min=max(floor, 1e-6) ** 2).sqrt()


def _plan(spec: ImageSpec, who: str, width: int) -> tuple[list[int], tuple[int, int]]:
    """Channels of every halving, and the grid at the end."""
    times = halvings(spec, who)
    return [width * min(2**k, 8) for k in range(times)], (spec.height >> times, spec.width >> times)
