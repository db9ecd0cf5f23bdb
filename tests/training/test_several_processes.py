"""Training in two processes of the CPU: the detector and the losses are those of one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from processes_started import finished, start
from safetensors.torch import load_file
from torch import Tensor
from two_processes import ALL_CASES, EXACT, SINGLE, train_case, train_cases

from medood.core.errors import ResumeError

WORKER = str(Path(__file__).parents[1] / "support" / "two_processes.py")
FIRST = {case.name: str(number) for number, case in reversed(list(enumerate(ALL_CASES)))}
OTHERS = {name: number for name, number in FIRST.items() if name not in {case.name for case in EXACT.values()}}
"""One case of every detector that is not among those that can be held against one process."""
VAE = FIRST["vae"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one` and `two` with a folder for each case, trained in one process and in two."""
    folder = tmp_path_factory.mktemp("processes")
    names = [*EXACT, *OTHERS.values(), f"again-{VAE}", "again-ganomaly"]
    started = start([WORKER, str(folder / "two"), *names])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_cases(list(EXACT), folder / "one")
    finally:
        torch.set_num_threads(threads)
        ends = finished(started)
    assert [status for status, *_ in ends] == [0, 0], ends
    return folder


def history(folder: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    found = [{"epoch": line["epoch"], "validation": line["validation"]} | line["losses"] for line in lines]
    return [{name: value for name, value in each.items() if value is not None} for each in found]


def detector(folder: Path, process: int = 0) -> dict[str, Tensor]:
    return load_file(folder / f"{process}.safetensors")


@pytest.mark.parametrize("name", EXACT)
def test_losses_and_validation_are_those_of_one_process_with_the_whole_batch(both: Path, name: str) -> None:
    one, two = history(both / "one" / name), history(both / "two" / name)
    tolerance = 1e-4 if name in SINGLE else 2e-6
    assert len(one) == len(two)
    for alone, shared in zip(one, two, strict=True):
        assert shared == pytest.approx(alone, rel=tolerance)


@pytest.mark.parametrize("name", ["mahalanobis", "one_class_svm", "padim", "patch_core", "knn"])
def test_what_is_solved_and_banked_is_that_of_one_process(both: Path, name: str) -> None:
    alone, shared = detector(both / "one" / name), detector(both / "two" / name)
    assert alone.keys() == shared.keys()
    for key, values in alone.items():
        torch.testing.assert_close(shared[key], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*EXACT, *OTHERS])
def test_every_detector_is_the_same_in_both_processes(both: Path, name: str) -> None:
    first, second = (detector(both / "two" / OTHERS.get(name, name), process) for process in range(2))
    assert first.keys() == second.keys()
    assert all(first[key].equal(second[key]) for key in first)
    assert first["fitted_"]


@pytest.mark.parametrize("name", [VAE, "ganomaly"])
def test_a_training_goes_on_to_the_same_bits(both: Path, name: str) -> None:
    in_one_go, resumed = detector(both / "two" / name), detector(both / "two" / f"again-{name}")
    assert all(resumed[key].equal(values) for key, values in in_one_go.items())


def test_a_training_does_not_go_on_in_another_number_of_processes(both: Path) -> None:
    with pytest.raises(ResumeError, match=r"number of processes was 2, is 1"):
        train_case("autoencoder", both / "two" / "autoencoder", epochs=3, resume=True)
