"""What every detector must do with images of any size and before it is trained: the contract's trials of it, each made anew."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from detector_trials import phantoms
from test_detector_contract import ALL_CASES, Case, assert_same, make, spec_of, trained

from medood.core.errors import MedoodError, NotFitted


@pytest.fixture(params=ALL_CASES, ids=str, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    if request.param.name == "pyod":
        pytest.importorskip("pyod")
    return request.param


def test_the_same_seed_gives_the_same_detector(case: Case) -> None:
    spec = spec_of(case)
    one, other = (trained(case, spec, epochs=2, images=32).detector for _ in range(2))
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    images = phantoms(spec, 4, seed=4)
    assert_same(one.score(images), other.score(images))


def test_an_untrained_detector_says_so(case: Case) -> None:
    spec = spec_of(case)
    with pytest.raises(NotFitted):
        make(case, spec).score(phantoms(spec, 1, seed=6))
    with pytest.raises(NotFitted):
        make(case, spec).reconstructions(phantoms(spec, 1, seed=6))


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 64, 64), (1, 64, 96), (1, 48, 64), (1, 50, 50), (1, 61, 37)])
def test_other_specs_work_or_are_refused_in_a_sentence(case: Case, channels: int, height: int, width: int) -> None:
    try:
        spec = spec_of(case, channels, height, width)
    except MedoodError:
        with pytest.raises(MedoodError, match=r"\.$"):
            spec_of(case, channels, height, width)
        return
    scores = trained(case, spec, epochs=1, images=16).detector.score(phantoms(spec, 2, seed=7))
    assert scores.image.shape == (2,)
    assert torch.isfinite(scores.image).all()
    assert scores.map is None or scores.map.shape == (2, 1, height, width)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (30, 30), (48, 48), (100, 100), (224, 224), (64, 96), (320, 320)])
def test_a_size_works_or_the_refusal_names_the_nearest_that_do(case: Case, height: int, width: int) -> None:
    asked = replace(spec_of(case), height=height, width=width, background=None)  # so that crops of small images count too
    try:
        make(case, asked)
    except MedoodError as error:
        sentence = str(error)
    else:
        scores = trained(case, asked, epochs=1, images=2).detector.score(phantoms(asked, 1, seed=7))
        assert torch.isfinite(scores.image).all()
        return
    sizes = {(int(h), int(w)) for h, w in re.findall(r"(\d+) x (\d+)", sentence)} - {(height, width)}
    assert sizes, sentence
    for h, w in sizes:
        make(case, replace(asked, height=h, width=w))
    if height == width:
        below = max((h for h, _ in sizes if h < height), default=0)
        above = min((h for h, _ in sizes if h > height), default=height)
        for side in range(below + 1, above):
            with pytest.raises(MedoodError):
                make(case, replace(asked, height=side, width=side))
