"""A gate on drawings with a known layout: it keeps its rate, lets lesions pass, and names what is wrong."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from medood.core.detector import ImageSpec
from medood.core.errors import RunError
from medood.gate.changes import CHANGES
from medood.gate.fitting import _distance, fit_gate
from medood.gate.gate import Gate
from medood.gate.lesions import with_lesions
from medood.gate.statistics import statistics

SPEC = ImageSpec(1, 32, 32, 0.0, 1.0, 0.0)
FACTS = {"modality": "MR", "weighting": "", "body_part": "", "view": "", "manufacturer": "", "kvp": None}
FACTS |= {"channels": 1, "plane": "axial", "pixel_mm": [1.0, 1.0]}


def drawings(count: int, seed: int, core: float = 0.2) -> np.ndarray:
    """Bodies with a bright top, a dark left and a bright core: every patient a little otherwise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    made = []
    for _ in range(count):
        inside = (x / random.uniform(0.6, 0.8)) ** 2 + (y / random.uniform(0.8, 0.95)) ** 2 < 1
        values = 0.5 - 0.15 * y * random.uniform(0.8, 1.2) + 0.15 * x * random.uniform(0.8, 1.2) + random.normal(0, 0.03, x.shape)
        values += core * np.exp(-(x**2 + y**2) / 0.1)
        made.append(np.where(inside, np.clip(values, 0.05, 1), 0))
    return np.array(made, np.float32)[:, None]


TRAINING = drawings(80, 0)


@pytest.fixture(scope="module")
def gate() -> Gate:
    return fit_gate(lambda numbers: TRAINING[numbers], [str(i) for i in range(80)], [FACTS] * 80, SPEC, 0.01)


def refused(gate: Gate, images: np.ndarray, **facts: object) -> list[str]:
    return [one.reason for one in gate.judge(gate.look(images), FACTS | facts, False) if one.refused]


def test_new_patients_pass_with_lesions_and_without(gate: Gate) -> None:
    new = drawings(200, 1)
    assert len(refused(gate, new)) <= 200 * 0.01 + 3
    assert len(refused(gate, with_lesions(new, SPEC))) <= 200 * 0.02 + 3


@pytest.mark.parametrize("change", ["upside down", "turned by 90 degrees", "turned by 180 degrees", "mirrored"])
def test_what_was_done_to_a_whole_image_is_named(gate: Gate, change: str) -> None:
    reasons = refused(gate, np.ascontiguousarray(CHANGES[change](drawings(40, 2), SPEC)))
    assert len(reasons) >= 36
    assert np.mean([f"it looks {change}" in reason for reason in reasons]) > 0.8


def drawn_features(images: np.ndarray, away: float = 0.0) -> np.ndarray:
    """(n, 3) normal numbers that follow from an image's bits and so from nothing that statistics see."""
    seeds = [crc32(np.ascontiguousarray(image).tobytes()) for image in images]
    return np.array([np.random.default_rng(seed).normal(away, 1, 3) for seed in seeds])


def test_features_of_the_detectors_network_are_asked_too(tmp_path: Path) -> None:
    made = fit_gate(lambda n: TRAINING[n], [str(i) for i in range(80)], [FACTS], SPEC, 0.01, features=drawn_features)
    made.save(tmp_path)
    again = Gate.load(tmp_path, SPEC)
    assert again is not None
    assert again.needs_features
    new = drawings(100, 5)
    for one in (made, again):
        usual, strange = (one.judge(one.look(new, drawn_features(new, away)), FACTS, False) for away in (0.0, 12.0))
        assert sum(each.refused for each in usual) <= 4
        assert sum(each.reason == "its features are unlike those of any training image" for each in strange) >= 90


def test_a_change_that_cannot_be_seen_is_not_looked_for() -> None:
    one = drawings(80, 0, core=0)
    symmetric = np.maximum(one, one[..., ::-1])
    made = fit_gate(lambda n: symmetric[n], [str(i) for i in range(80)], [FACTS], SPEC, 0.01)
    assert "The gate does not look for images that are mirrored: they look too much like the others." in made.left_out
    assert len(refused(made, np.ascontiguousarray(CHANGES["upside down"](symmetric[:20], SPEC)))) == 20


def test_noise_and_another_object_are_refused(gate: Gate) -> None:
    random = np.random.default_rng(0)
    assert len(refused(gate, np.clip(drawings(20, 3) + (drawings(20, 3) > 0) * random.normal(0, 0.2, (20, 1, 32, 32)), 0, 1))) == 20
    assert len(refused(gate, CHANGES["inverted"](drawings(20, 3), SPEC))) == 20  # of ramps, this is a turn too
    assert len(refused(gate, random.random((20, 1, 32, 32)).astype(np.float32))) == 20
    assert len(refused(gate, np.zeros((1, 1, 32, 32), np.float32))) == 1


def test_a_tag_that_differs_refuses_with_its_words_alone(gate: Gate) -> None:
    (found,) = gate.judge(gate.look(drawings(1, 4)), FACTS | {"modality": "CT"}, False)
    assert (found.p, found.refused, found.reason) == (0.0, True, "a CT, trained on MR")


def test_a_series_is_judged_by_its_typical_slice(gate: Gate) -> None:
    new = drawings(5, 5)
    assert not gate.series(gate.judge(gate.look(new), FACTS, False)).refused
    new[0] = 0.9
    assert not gate.series(gate.judge(gate.look(new), FACTS, False)).refused
    other = gate.series(gate.judge(gate.look(np.ascontiguousarray(new[:, :, ::-1])), FACTS, False))
    assert other.refused
    assert "upside down" in other.reason


def test_it_comes_back_from_its_file_as_it_was(gate: Gate, tmp_path: Path) -> None:
    assert gate.save(tmp_path) == "gate.npz"
    again = Gate.load(tmp_path, SPEC)
    assert again is not None
    images = np.concatenate([drawings(5, 6), with_lesions(drawings(5, 6), SPEC), np.ones((1, 1, 32, 32), np.float32)])
    for one, other in zip(gate.judge(gate.look(images), FACTS, False), again.judge(again.look(images), FACTS, False), strict=True):
        assert (one.refused, one.reason) == (other.refused, other.reason)
        assert one.p == pytest.approx(other.p, rel=1e-3)
    assert list(again.left_out) == list(gate.left_out)


def test_a_missing_file_is_no_gate_and_a_damaged_one_is_a_sentence(gate: Gate, tmp_path: Path) -> None:
    assert Gate.load(tmp_path, SPEC) is None
    gate.save(tmp_path)
    content = (tmp_path / "gate.npz").read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"\x00" * 100):
        (tmp_path / "gate.npz").write_bytes(damaged)
        with pytest.raises(RunError, match=r"--fit FOLDER"):
            Gate.load(tmp_path, SPEC)


@pytest.mark.parametrize(("images", "patients"), [(1, 1), (3, 3), (40, 1)])
def test_too_few_images_or_patients_leave_the_tags(images: int, patients: int) -> None:
    made = fit_gate(lambda n: TRAINING[n], [str(i % patients) for i in range(images)], [FACTS], SPEC, 0.01)
    assert refused(made, np.ones((1, 1, 32, 32), np.float32)) == []
    assert refused(made, TRAINING[:1], modality="CT") == ["a CT, trained on MR"]
    assert any("too few to learn what they look like" in sentence for sentence in made.left_out)


def test_rows_of_numbers_have_no_layout() -> None:
    numbers = np.random.default_rng(0).random((40, 1, 1, 12)).astype(np.float32)
    made = fit_gate(lambda n: numbers[n], [str(i) for i in range(40)], [FACTS], ImageSpec(1, 1, 12), 0.01)
    assert refused(made, 1 - numbers[:5]) == []
    assert "The gate looks at tags only: there is little to see in 1 x 12 pixels." in made.left_out


def test_what_few_patients_cannot_promise_is_said(gate: Gate) -> None:
    (said,) = [sentence for sentence in gate.left_out if "promise" in sentence]
    assert "80 patients promise no less than 4.9 %" in said  # four questions
    assert "399 would promise it" in said


def test_a_detector_that_finds_an_image_far_too_normal_is_heard() -> None:
    scores = np.random.default_rng(0).normal(1, 0.1, 80)
    groups = [str(i) for i in range(80)]
    made = fit_gate(lambda n: TRAINING[n], groups, [FACTS], SPEC, 0.01, (scores, groups))
    (usual, normal, abnormal) = made.judge(made.look(drawings(3, 7)), FACTS, False, np.array([1.0, -3.0, 9.0]))
    assert (usual.refused, abnormal.refused) == (False, False)
    assert normal.reason == "the detector finds it far more normal than any normal image"


def vectors(random: np.random.Generator, patients: np.ndarray, mix: np.ndarray) -> np.ndarray:
    """Statistics that patients have in common as much as their images differ."""
    common, own = (random.normal(size=(length, len(mix))) for length in (patients[-1] + 1, len(patients)))
    return (common[patients] + own) @ mix


def test_the_rate_is_kept_on_exchangeable_patients() -> None:
    """Three groups of statistics as they are fitted and combined, 200 times."""
    random, shares = np.random.default_rng(0), []
    for _ in range(200):
        owner = np.repeat(np.arange(40), random.integers(1, 4, 40))
        p_values = []
        for _group in range(3):
            mix = random.normal(size=(5, 5))
            normal = vectors(random, owner, mix)
            distance, question = _distance(normal, normal + 0.1 * random.normal(size=normal.shape), owner)
            p_values.append(question(distance(vectors(random, np.arange(30), mix))))
        shares.append(np.mean(3 * np.min(p_values, 0) <= 0.01))
    assert np.mean(shares) <= 0.015


def test_lesions_count_for_little_in_a_distance() -> None:
    lesioned = with_lesions(TRAINING, SPEC)
    found = [statistics(images, SPEC)["values"] for images in (TRAINING, lesioned)]
    distance, question = _distance(*found, np.arange(80))
    new = drawings(100, 8)
    p_values = question(distance(statistics(with_lesions(new, SPEC), SPEC)["values"]))
    assert np.mean(p_values <= 0.05) <= 0.12
