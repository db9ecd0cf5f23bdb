"""Learning that views show the same: what the views are, where gradients go, and what a collapse is."""

from __future__ import annotations

import warnings

import pytest
import torch
from seeds import shifted
from torch import Tensor, nn

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.pretraining.sim_siam import SimSiam, spread_of
from medood.pretraining.views import Views

SPEC = ImageSpec(1, 24, 20, -1.0, 1.0)


class Small(nn.Module):
    """Two convolutions in place of a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2))

    def forward(self, image: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        assert layers == (4,)
        assert image.shape[1:] == (3, 16, 16)
        return [self.layers(image)]


def network(encoder: nn.Module | None = None, **more: float) -> SimSiam:
    torch.manual_seed(shifted(0))
    scale = torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.25)
    plan = {"epochs": 2, "batch_size": 16, "learning_rate": 1.0, "weight_decay": 0.0, "smallest": 0.5, "flip": True} | more
    return SimSiam(SPEC, encoder or Small(), channels=16, size=(16, 16), scale=scale, width=32, **plan)


def pictures(count: int) -> Tensor:
    return torch.rand((count, *SPEC.shape), generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_views_have_the_networks_size_and_follow_torchs_generator() -> None:
    views, unit = Views((16, 12), smallest=0.5, flip=True), torch.rand(3, 1, 24, 20)
    torch.manual_seed(5)
    first, second = views(unit), views(unit)
    torch.manual_seed(5)
    again = views(unit)
    assert first.shape == (3, 1, 16, 12)
    assert type(first) is Tensor
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert bool(first.isfinite().all())


def test_a_view_shows_no_less_than_it_should() -> None:
    """Of a ramp from left to right a view shows at least so much of its range; what it does to grey values keeps their order."""
    ramp = torch.linspace(0, 1, 40).expand(1, 1, 40, 40)
    whole, parts = Views((40, 40), smallest=1.0, flip=False), Views((40, 40), smallest=0.25, flip=True)
    mirrored = set()
    for _ in range(20):
        rows = whole(ramp)[0, 0][:, 8:-8]  # where the blur sees no border
        assert bool((rows[8:-8].diff(dim=1) > -1e-4).all())
        assert 0.4 < rows[20, -1] - rows[20, 0] < 0.8
        part = parts(ramp)[0, 0]
        mirrored.add(bool(part[20, 30] < part[20, 10]))
    assert mirrored == {False, True}


def test_shrunken_images_have_lost_their_detail_and_kept_their_shades() -> None:
    """Stripes of one pixel become even grey; a half that is brighter stays brighter."""
    stripes = torch.full((1, 1, 40, 40), 0.25)
    stripes[..., ::2] = 0.5
    stripes[..., 20:, :] += 0.25
    sharp, shrunken = (Views((40, 40), smallest=1.0, flip=False, shrunk=size) for size in (None, (20, 20)))
    rough = [float(views(stripes)[0, 0, 2:16, 2:-2].diff(dim=1).abs().mean()) for views in [sharp] * 8 + [shrunken] * 8]
    assert 4 * max(rough[8:]) < max(rough[:8])
    view = shrunken(stripes)[0, 0]
    assert view[10].mean() + 0.1 < view[30].mean()


def test_spread_of_known_outputs() -> None:
    assert spread_of(torch.ones(8, 16) * 3) == pytest.approx(0, abs=1e-6)
    assert spread_of(torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))) == pytest.approx(1, abs=0.02)
    two = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # directions 1, 0 and 0, 1: deviation a half in both
    assert spread_of(two) == pytest.approx(0.5 * 2**0.5)


def test_gradients_reach_everything_and_not_through_the_other_view() -> None:
    detector = network()
    (phase,) = detector.phases()
    detector.train()
    seen, other = torch.randn(8, 32, requires_grad=True), torch.randn(8, 32, requires_grad=True)
    phase._missed(seen, other).backward()
    assert other.grad is None
    assert seen.grad is not None
    reached: list[bool] = []

    def update(loss: Tensor, name: str) -> None:
        detector.zero_grad()
        loss.backward()
        reached.extend(p.grad is not None and bool((p.grad != 0).any()) for p in detector.parameters())

    phase.step(Batch(pictures(8)), update)
    assert len(reached) > 10
    assert sum(not each for each in reached) <= 1  # the offset of the encoder's last layer is taken away by the norm behind it


def test_the_loss_of_known_outputs() -> None:
    detector = network()
    detector.predictor = nn.Identity()
    (phase,) = detector.phases()
    seen = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert phase._missed(seen, seen * 7) == pytest.approx(-1)
    assert phase._missed(seen, -seen) == pytest.approx(1)
    assert phase._missed(seen, torch.tensor([[4.0, 3.0], [0.0, 1.0]])) == pytest.approx(-0.48)


def test_the_learning_rate_is_in_proportion_to_the_batch() -> None:
    (phase,) = network(learning_rate=0.05).phases()
    assert phase.optimizers["network"].param_groups[0]["lr"] == pytest.approx(0.05 * 16 / 256)


class Constant(nn.Module):
    """Sees nothing."""

    def forward(self, image: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        return [torch.ones(len(image), 16, 1, 1)]


def test_a_collapse_is_said() -> None:
    detector = network(Constant())
    (phase,) = detector.phases()
    detector.train()
    with torch.no_grad():
        phase.step(Batch(pictures(8)), lambda loss, name: None)
    with pytest.warns(UserWarning, match="Pretraining collapsed"):
        phase.finish()


@pytest.mark.parametrize(("loss", "says"), [(-0.02, True), (-0.8, False)])
def test_that_nothing_was_learned_is_said(loss: float, says: bool) -> None:
    """The loss of the steps counts, the last the most."""
    detector = network()
    (phase,) = detector.phases()
    detector.spread_.fill_(1.0)
    phase._missed = lambda seen, other: torch.tensor(loss)
    detector.train()
    with torch.no_grad():
        for _ in range(60):
            phase.step(Batch(pictures(8)), lambda loss, name: None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        phase.finish()
    assert any("learned next to nothing" in str(each.message) for each in caught) is says


def test_it_has_no_scores() -> None:
    with pytest.raises(MedoodError, match="has no scores"):
        network().mark_fitted().score(pictures(1))
