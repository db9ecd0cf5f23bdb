"""Anomaly detection with the search for an image in a GAN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.optim import Adam

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from medood.detectors.adversarial.f_anogan import gradient_penalty
from medood.nets.dcgan import coder, drawer, over_the_image
from medood.nets.error_maps import absolute_error
from medood.nets.images.signed import signed, unsigned

_BETAS = 0.5, 0.999
_COPIES = 2**27
"""Numbers in the copies of the generator that are tuned at once: 0.5 GB, and as much again for each of Adam's two means."""


class ADGAN(Detector):
    """A GAN learns to draw normal images; what it cannot be made to draw, from several starts of a search, is anomalous.

    Deecke et al., "Image anomaly detection with generative adversarial networks", ECML PKDD 2018, as the baseline "ADGAN" of Golan and
    El-Yaniv (NeurIPS 2018): a Wasserstein GAN with gradient penalty whose generator is the second half of their autoencoder. Its critic
    normalises each image by itself, as the penalty demands; what it is shown comes from the generator as it learns, with batch statistics,
    where their code takes running ones. Takes any range of values, stretched to -1..1 inside, and any size of 8 pixels or more that can be
    halved until the shorter side has 4 to 7 pixels.

    latent         size of the code, drawn from a normal distribution
    width          channels of the generator at half the resolution; twice, four and eight times as many on smaller grids
    critic_steps   updates of the critic, each with a new batch, before one of the generator
    penalty        weight of the critic's gradient penalty (Gulrajani et al., NeurIPS 2017)
    starts         of the search for every image, the same for all images; their errors are averaged
    steps          of each search; 5 in the paper, few for images larger than 32 x 32 pixels
    search_rate    of Adam for the codes
    tune_generator  the search moves a copy of the generator too, one for every image and start, as in the paper. Scoring takes about five
                   times as long, and far more memory
    tune_rate      of Adam for these copies
    seed           draws the starts
    learning_rate  of Adam for critic and generator
    epochs         10 000 updates of the generator in Golan and El-Yaniv. No loss says which epoch is best: the last one counts

    Score: mean squared error of what the search ends with, where the range is -1..1, mean over the starts; the part "best" is the lowest
    of them. `map` is |image - drawing|, mean over the starts.
    """

    starts_: Tensor  # (starts, latent)
    critic_steps_: Tensor  # () int64, so many updates of the critic were made

    def __init__(
        self,
        spec: ImageSpec,
        *,
        latent: PositiveInt = 256,
        width: PositiveInt = 64,
        critic_steps: PositiveInt = 2,
        penalty: NonNegativeFloat = 20.0,
        starts: PositiveInt = 8,
        steps: PositiveInt = 5,
        search_rate: PositiveFloat = 0.25,
        tune_generator: bool = False,
        tune_rate: PositiveFloat = 5e-5,
        seed: NonNegativeInt = 0,
        learning_rate: PositiveFloat = 1e-4,
        epochs: PositiveInt = 200,
    ) -> None:
        super().__init__(spec)
        self.generator = drawer(spec, "ADGAN", width, latent)
        self.critic = coder(spec, "ADGAN", width, 1, norm=over_the_image)
        last = self.critic[-1]
        assert isinstance(last, nn.Linear)
        last.bias.requires_grad_(False)  # added to the value of every image alike, it cancels out of every loss
        self.latent, self.critic_steps, self.penalty = latent, critic_steps, penalty
        self.steps, self.search_rate, self.tune_generator, self.tune_rate = steps, search_rate, tune_generator, tune_rate
        self.learning_rate, self.epochs = learning_rate, epochs
        self.register_buffer("starts_", torch.randn(starts, latent, generator=torch.Generator().manual_seed(seed)))
        self.register_buffer("critic_steps_", torch.zeros((), dtype=torch.int64))

    def phases(self) -> list[Phase]:
        return [_Gan(self)]

    def draw(self, count: int) -> Tensor:
        """(count, C, H, W) in -1..1 from random codes."""
        return self.generator(torch.randn(count, self.latent, device=self.fitted_.device))

    def found(self, image: Tensor) -> Tensor:
        """(B, starts, C, H, W) in -1..1: where the searches for images (B, C, H, W) in -1..1 end."""
        starts = len(self.starts_)
        wanted = image.repeat_interleave(starts, 0)
        codes = self.starts_.to(image).repeat(len(image), 1)
        drawn = self._tuned(wanted, codes) if self.tune_generator else self.generator(self._searched(wanted, codes))
        return drawn.unflatten(0, (len(image), starts))

    @torch.enable_grad()
    def _searched(self, wanted: Tensor, codes: Tensor) -> Tensor:
        """Codes (n, latent) after the search for images (n, C, H, W): Adam moves each number by itself, so all searches are one."""
        codes = codes.clone().requires_grad_()
        adam = Adam([codes], self.search_rate, _BETAS)
        for _ in range(self.steps):
            errors = (self.generator(codes) - wanted).square().mean((1, 2, 3))
            (codes.grad,) = torch.autograd.grad(errors.sum(), codes)
            adam.step()
        return codes.detach()

    def _tuned(self, wanted: Tensor, codes: Tensor) -> Tensor:
        """Drawings (n, C, H, W) after a search that moves a copy of the generator for each of them too, so many copies at once as fit."""
        size = sum(parameter.numel() for parameter in self.generator.parameters())
        at_once = max(1, _COPIES // size)
        return torch.cat([self._tuned_together(*part) for part in zip(wanted.split(at_once), codes.split(at_once), strict=True)])

    def _tuned_together(self, wanted: Tensor, codes: Tensor) -> Tensor:
        buffers = dict(self.generator.named_buffers())

        def drawing(weights: dict[str, Tensor], code: Tensor) -> Tensor:
            return functional_call(self.generator, (weights, buffers), code[None])[0]

        def error(weights: dict[str, Tensor], code: Tensor, image: Tensor) -> Tensor:
            return (drawing(weights, code) - image).square().mean()

        weights = {name: each.detach().expand(len(codes), *each.shape).clone() for name, each in self.generator.named_parameters()}
        codes = codes.clone()
        groups: list[dict[str, Any]] = [{"params": [codes], "lr": self.search_rate}, {"params": list(weights.values())}]
        moved = Adam(groups, self.tune_rate, _BETAS)
        for _ in range(self.steps):
            by_weights, codes.grad = vmap(grad(error, (0, 1)))(weights, codes, wanted)
            for name, weight in weights.items():
                weight.grad = by_weights[name]
            moved.step()
        return vmap(drawing)(weights, codes)

    def _score(self, image: Tensor) -> Scores:
        seen = signed(image, self.spec)
        found = self.found(seen)
        errors = (found - seen[:, None]).square().mean((2, 3, 4))
        apart = absolute_error(image.repeat_interleave(found.shape[1], 0), unsigned(found.flatten(0, 1), self.spec))
        heat = apart.unflatten(0, found.shape[:2]).mean(1)
        return Scores(errors.mean(1), heat, parts={"best": errors.amin(1)})

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        seen = signed(image, self.spec)
        found = self.found(seen)
        best = (found - seen[:, None]).square().mean((2, 3, 4)).argmin(1)
        return {"x' (closest drawing)": unsigned(found[torch.arange(len(found), device=found.device), best], self.spec)}


class _Gan(Phase):
    """Wasserstein GAN with gradient penalty: the critic with every batch, the generator after every so many of them."""

    name = "gan"

    def __init__(self, detector: ADGAN) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        learned = {
            name: [parameter for parameter in network.parameters() if parameter.requires_grad]
            for name, network in (("critic", detector.critic), ("generator", detector.generator))
        }
        self.optimizers = {name: Adam(each, detector.learning_rate, (0.0, 0.9), fused=True) for name, each in learned.items()}

    def begin(self) -> None:
        self.detector.critic_steps_.zero_()

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        detector, real = self.detector, signed(batch.image, self.detector.spec)
        with torch.no_grad():
            fake = detector.draw(len(real))
        distance = detector.critic(real).mean() - detector.critic(fake).mean()
        penalty = gradient_penalty(detector.critic, real, fake, torch.rand(len(real), 1, 1, 1, device=real.device))
        update(detector.penalty * penalty - distance, "critic")
        losses = {"distance": distance.detach(), "penalty": penalty.detach()}
        detector.critic_steps_ += 1
        if int(detector.critic_steps_) % detector.critic_steps == 0:
            loss = -detector.critic(detector.draw(len(real))).mean()
            update(loss, "generator")
            losses["generator"] = loss.detach()
        return losses
