"""Every detector on another device than the processor, as far as it can be tried without: nothing that it computes with stays behind."""

from __future__ import annotations

from copy import deepcopy
from inspect import unwrap

import pytest
import torch
from detector_trials import phantoms
from pretend_gpu import OnGpu, pretend_gpu
from test_detector_contract import ALL_CASES, Case, fields, make, mixed, spec_of
from torch import Tensor
from torch.nn.functional import conv2d
from two_processes import Phantoms

from medood.core.detector import Detector
from medood.core.device import exact_convolutions
from medood.detectors.occlusion import Occlusion
from medood.nets.images.ascent import ascend
from medood.transforms.mask_boxes import MaskBoxes


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_a_detector_learns_and_scores_there(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.name == "pyod":
        pytest.importorskip("pyod")
    monkeypatch.setitem(unwrap(ascend).__kwdefaults__, "steps", 2)
    images, _, _ = mixed(spec_of(case), 6, case.lesion)
    with pretend_gpu() as gpu:
        detector = trained(case, gpu)
        found = fields(detector.score(images))
        shown = detector.reconstructions(images[:2])
        if (changed := detector.made_normal(images[:2])) is not None:
            shown["more normal"] = changed
        assert all(isinstance(value, OnGpu) for value in (*found.values(), *shown.values()))
        here = deepcopy(detector).cpu()
        found, shown = ({name: value.cpu() for name, value in each.items()} for each in (found, shown))
    torch.testing.assert_close(fields(here.score(images)), found)
    torch.testing.assert_close(here.reconstructions(images[:2]), {name: shown[name] for name in shown if name != "more normal"})


def test_a_map_by_occlusion_is_made_there() -> None:
    case = next(case for case in ALL_CASES if case.name == "csi")
    with pretend_gpu() as gpu:
        detector = Occlusion(trained(case, gpu), side=12, stride=8).to(gpu).mark_fitted()
        assert isinstance(detector.score(phantoms(detector.spec, 2, seed=2)).map, OnGpu)


def test_what_was_left_on_the_processor_is_noticed() -> None:
    with pretend_gpu() as gpu:
        values = torch.arange(6.0, device=gpu)
        assert isinstance(values + 1, OnGpu)
        assert torch.equal((values + torch.tensor(1)).cpu(), torch.arange(1.0, 7.0))  # a number may come from anywhere
        assert values[[0, 2]].tolist() == [0.0, 2.0]
        for wrong in (
            lambda: values + torch.ones(6),
            lambda: torch.ones(6)[values.long()],
            lambda: torch.stack([values, torch.ones(6)]),
            lambda: values.numpy(),
            lambda: torch.rand(3, generator=torch.Generator(), device=gpu),
        ):
            with pytest.raises(RuntimeError):
                wrong()


def test_what_a_gpu_rounds_is_noticed() -> None:
    images, kernel = torch.rand(2, 1, 8, 8), torch.rand(1, 1, 3, 3)
    exact = conv2d(images, kernel)
    with pretend_gpu() as gpu:
        rounded = conv2d(images.to(gpu), kernel.to(gpu)).cpu()
        with exact_convolutions():
            assert torch.equal(conv2d(images.to(gpu), kernel.to(gpu)).cpu(), exact)
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
