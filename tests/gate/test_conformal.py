"""p-values by patient keep their promise on simulated patients, many and few, alike and unlike."""

from __future__ import annotations

import numpy as np
import pytest

from medood.gate.conformal import PatientPValue


def patients(random: np.random.Generator, count: int, within: float, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of one to eight images of each patient: what the patient has in common, and what each image adds."""
    owner = np.repeat(np.arange(count), random.integers(1, 9, count))
    common = random.standard_t(tail, count)[owner]
    return common + within * random.standard_t(tail, len(owner)), owner


@pytest.mark.parametrize("tail", [1.0, 3.0, 1000.0], ids=["heavy", "medium", "normal"])
@pytest.mark.parametrize("within", [0.1, 2.0], ids=["alike", "unlike"])
def test_the_rate_is_kept_whatever_the_distribution_where_there_are_enough_patients(within: float, tail: float) -> None:
    random, refused = np.random.default_rng(0), []
    for _ in range(200):
        values, owner = patients(random, 160, within, tail)
        new, number = patients(random, 40, within, tail)
        one_each = new[np.unique(number, return_index=True)[1]]
        refused.append(np.mean(PatientPValue(values, owner)(one_each) <= 0.01))
    assert np.mean(refused) <= 0.01 + 3 * np.std(refused) / np.sqrt(200)


@pytest.mark.parametrize("count", [4, 12])
def test_few_patients_keep_it_for_normal_values_and_still_refuse_what_is_far(count: int) -> None:
    random, refused, far = np.random.default_rng(1), [], []
    for _ in range(200):
        values, owner = patients(random, count, 1.0, 1000.0)
        question = PatientPValue(values, owner)
        new, number = patients(random, 60, 1.0, 1000.0)
        refused.append(np.mean(question(new[np.unique(number, return_index=True)[1]]) <= 0.01))
        far.append(question(np.array([200.0]))[0])
    assert np.mean(refused) <= 0.02
    assert np.median(far) <= 0.01


def test_it_is_conformal_down_to_what_the_patients_promise() -> None:
    values, owner = np.array([1.0, 2.0, 3.0, 3.0, 5.0]), np.array([0, 0, 1, 1, 2])
    question = PatientPValue(values, owner)
    assert question(np.array([0.0, 2.0, 3.0, 5.0])) == pytest.approx([1.0, 3.5 / 4, 3 / 4, 2 / 4])
    beyond = question(np.array([5.1, 20.0, 200.0]))
    assert beyond[0] <= 1 / 4
    assert (np.diff(beyond) < 0).all()


def test_one_patient_promises_a_half_and_no_more() -> None:
    question = PatientPValue(np.arange(50.0), np.zeros(50, int))
    assert question(np.array([1e9])) == pytest.approx([0.5])
