"""A record of a detector: the same answers, ties as they were, and no number of one image in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medood.artefacts.program import SLACK, AsPrepared, Parts, Whole, write_down
from medood.core.detector import Detector, ImageSpec, Scores
from medood.core.errors import MedoodError
from medood.metrics.calibration import Calibration

SPEC = ImageSpec(1, 8, 8)
LEVELS = np.linspace(0.2, 0.6, 41)


class Asked(Detector):
    """Scores by what it is given."""

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        super().__init__(SPEC)
        self.score_by = score
        self.mark_fitted()

    def _score(self, image: Tensor) -> Scores:
        return Scores(self.score_by(image), image)


def program_of(score: Callable[[Tensor], Tensor]) -> nn.Module:
    calibration = Calibration.fit(LEVELS, np.arange(len(LEVELS)).astype(str), 0.05)
    whole = Whole(Parts(nn.Identity(), Asked(score), None, None, calibration, AsPrepared(0.0)))
    return write_down(whole, torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8), "it is a toy.").module()


def even(value: float) -> Tensor:
    return torch.full((1, 1, 8, 8), value, dtype=torch.float32)


def test_p_value_and_decision_are_those_of_the_calibration() -> None:
    program = program_of(lambda image: image.double().mean((1, 2, 3)))
    calibration = Calibration.fit(LEVELS, np.arange(len(LEVELS)).astype(str), 0.05)
    for value in (0.0, 0.3041, 0.5999, 0.6123, 5.0):
        found = program(even(value))
        score = found["score"].numpy()
        assert score == pytest.approx(value)
        assert found["p_value"].numpy() == pytest.approx(calibration.p_value(score))
        assert found["abnormal"].item() == calibration.anomalous(score)[0]


def test_a_score_that_rounding_lifts_off_a_held_out_one_counts_as_equal() -> None:
    program = program_of(lambda image: image.double().mean((1, 2, 3)) * 0 + float(np.nextafter(LEVELS[-3], 1)))
    calibration = Calibration.fit(LEVELS, np.arange(len(LEVELS)).astype(str), 0.05)
    found = program(even(0.0))
    assert found["p_value"].item() == calibration.p_value(LEVELS[[-3]])[0]
    assert calibration.p_value(np.nextafter(LEVELS[[-3]], 1))[0] < found["p_value"].item()  # as it would be without
    assert 0 < SLACK < 1e-4


def test_what_is_computed_elsewhere_is_refused() -> None:
    with pytest.raises(MedoodError, match="cannot be exported: it is a toy"):
        program_of(lambda image: torch.from_numpy(image.numpy().mean((1, 2, 3))))


def test_steps_that_depend_on_the_image_are_refused() -> None:
    with pytest.raises(MedoodError, match="depend on the values"):
        program_of(lambda image: image.mean((1, 2, 3)) if float(image.max()) > 2 else image.amax((1, 2, 3)))


def test_gradients_are_inside() -> None:
    def steepness(image: Tensor) -> Tensor:
        with torch.enable_grad():
            image = image.detach().requires_grad_()
            (slope,) = torch.autograd.grad(image.pow(3).sum(), image)
        return slope.mean((1, 2, 3))

    assert program_of(steepness)(even(0.5))["score"].item() == pytest.approx(0.75)


def test_a_mask_that_never_changes_picks_fixed_places() -> None:
    mask = torch.arange(8) % 3 == 0
    program = program_of(lambda image: image[:, 0, 0, mask].mean(1))
    assert program(torch.arange(64.0).view(1, 1, 8, 8))["score"].item() == 3.0
    assert "nonzero" not in str(program.graph)


def test_a_program_names_no_file_of_this_machine() -> None:
    program = program_of(lambda image: image.mean((1, 2, 3)))
    assert not any("stack_trace" in node.meta for node in program.graph.nodes)
