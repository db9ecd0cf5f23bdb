"""Every detector on another device than the processor, as far as it can be tried without: nothing that it computes with stays behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from copy import deepcopy
from inspect import unwrap

import pytest
import torch
from detector_trials import phantoms
from pretend_gpu import GPU, OnGpu, pretend_gpu
from test_detector_contract import ALL_CASES, Case, fields, make, mixed, spec_of
from torch import Tensor
from torch.nn.functional import conv2d
from two_processes import Phantoms

from medood.core.detector import Detector
from medood.core.device import exact_convolutions
from medood.detectors.occlusion import Occlusion
from medood.nets.images.ascent import ascend
from medood.transforms.mask_boxes import MaskBoxes


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "gpu" in metafunc.fixturenames:
        real = ["cuda"] if metafunc.config.getoption("--medood-gpu") else []
        metafunc.parametrize("gpu", ["pretended", *real], indirect=True)


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """The pretended one; and with `pytest --medood-gpu` this machine's, on which sums come out in another order."""
    with pretend_gpu() if request.param == "pretended" else nullcontext(torch.device("cuda")) as device:
        yield device


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_a_detector_learns_and_scores_there(case: Case, gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.name == "pyod":
        pytest.importorskip("pyod")
    monkeypatch.setitem(unwrap(ascend).__kwdefaults__, "steps", 2)
    images, _, _ = mixed(spec_of(case), 6, case.lesion)
    detector = trained(case, gpu)
    found, shown = fields(detector.score(images)), detector.reconstructions(images[:2])
    changed = detector.made_normal(images[:2])
    made = [*found.values(), *shown.values(), *([] if changed is None else [changed])]
    assert {value.device.type for value in made} == {gpu.type}

    here, order = deepcopy(detector).cpu(), 0.0 if gpu == GPU else 10 * case.rounding
    assert_close(found, fields(here.score(images)), order)
    assert_close(shown, here.reconstructions(images[:2]), order)


def assert_close(there: Mapping[str, Tensor], here: Mapping[str, Tensor], order: float) -> None:
    """As far apart as rounding and `order`, what another order of sums does, as a share of how far the values lie apart."""
    assert there.keys() == here.keys()
    for name, values in here.items():
        allowed = order * (values.max() - values.min()) + 1e-5 * values.abs().max()
        assert (there[name].cpu() - values).abs().max() <= allowed, name


def test_a_map_by_occlusion_is_made_there(gpu: torch.device) -> None:
    case = next(case for case in ALL_CASES if case.name == "csi")
    detector = Occlusion(trained(case, gpu), side=12, stride=8).to(gpu).mark_fitted()
    heat = detector.score(phantoms(detector.spec, 2, seed=2)).map
    assert heat is not None
    assert heat.device.type == gpu.type


def test_what_was_left_on_the_processor_is_noticed() -> None:
    with pretend_gpu() as device:
        values = torch.arange(6.0, device=device)
        assert isinstance(values + 1, OnGpu)
        assert torch.equal((values + torch.tensor(1)).cpu(), torch.arange(1.0, 7.0))  # a number may come from anywhere
        assert values[[0, 2]].tolist() == [0.0, 2.0]
        for wrong in (
            lambda: values + torch.ones(6),
            lambda: torch.ones(6)[values.long()],
            lambda: torch.stack([values, torch.ones(6)]),
            lambda: values.numpy(),
            lambda: torch.rand(3, generator=torch.Generator(), device=device),
        ):
            with pytest.raises(RuntimeError):
                wrong()


def test_what_a_gpu_rounds_is_noticed() -> None:
    images, kernel = torch.rand(2, 1, 8, 8), torch.rand(1, 1, 3, 3)
    exact = conv2d(images, kernel)
    with pretend_gpu() as device:
        rounded = conv2d(images.to(device), kernel.to(device)).cpu()
        with exact_convolutions():
            assert torch.equal(conv2d(images.to(device), kernel.to(device)).cpu(), exact)
    off = (rounded - exact).abs().max() / exact.max()
    assert 1e-5 < off < 2**-10


def trained(case: Case, device: torch.device) -> Detector:
    """By the trainer itself, for an epoch."""
    spec, hide = spec_of(case), MaskBoxes(tile=case.tile)

    def augment(sample: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        hide.set_random_state(seed=seed)
        return hide(sample)

    detector = make(case, spec).to(device)
    contrast = "synthetic" if detector.learns_from_contrast else None
    parts = (Phantoms(phantoms(spec, count, seed=seed)) for count, seed in ((32, 1), (24, 9)))
    return detector.fit(*parts, augment=augment, contrast=contrast, epochs=1, batch_size=16)
