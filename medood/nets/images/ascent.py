"""Images that are changed step by step towards what a network takes for normal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor, int], Tensor]
"""(B,) of images (B, C, H, W) in step 0, 1, ...; each from its own image alone."""


@torch.enable_grad()
def ascend(image: Tensor, objective: Objective, low: float, high: float, *, steps: int = 200, rate: float = 0.005) -> Tensor:
    """(B, C, H, W) within low..high: the images after so many steps of gradient ascent of the objective.

    A step changes the pixels of an image by `rate` of the range, as the root of their mean square, whatever the size of the gradient; where
    there is none, the image stays.
    """
    image = image.detach()
    for step in range(steps):
        image.requires_grad_()
        (gradient,) = torch.autograd.grad(objective(image, step).sum(), image)
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        change = torch.where(size > 0, gradient / size.clamp(min=torch.finfo(size.dtype).tiny), 0.0)
        image = (image.detach() + rate * (high - low) * change).clamp(low, high)
    return image
