"""First weights of convolutional GANs."""

from __future__ import annotations

from torch import nn

_WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_NORMS = (nn.BatchNorm2d, nn.InstanceNorm2d)


def normal_weights(network: nn.Module) -> None:
    """Draw all weights anew as DCGAN does (Radford et al., ICLR 2016, section 3): deviation 0.02 around 0, or around 1 for the factors of
    normalisation; all biases 0. Weights that are no parameters are frozen, and stay."""
    for module in network.modules():
        if isinstance(module, (*_WEIGHTED, *_NORMS)) and isinstance(module.weight, nn.Parameter):
            nn.init.normal_(module.weight, 1.0 if isinstance(module, _NORMS) else 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
