"""Runs of a benchmark given to workers that fail and die."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pretend_cluster import Death, PretendCluster

from medood.benchmarking import on_cluster
from medood.benchmarking.job import Order
from medood.benchmarking.on_cluster import carry_out_on
from medood.benchmarking.workers import Event
from medood.core.errors import MedoodError
from medood.engines import crew


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_LOOK", 0.0)


def orders(folder: Path, count: int) -> list[Any]:
    return [Order(SimpleNamespace(name=str(n)), folder, None, {}, (), False, None) for n in range(count)]  # type: ignore[arg-type]


def test_a_run_fails_with_its_reason_or_after_two_deaths_and_the_others_go_on(tmp_path: Path) -> None:
    begun: Counter[str] = Counter()

    def run(order: Order, worker: int, tell: Any) -> dict[str, str]:
        begun[order.job.name] += 1
        tell("half of it")
        if order.job.name == "2":
            raise MedoodError("too few images")
        if order.job.name == "3":
            raise KeyError("ours")
        if order.job.name == "4":
            raise Death
        return {"device": order.devices[0], "where": str(Path.cwd())}

    cluster, shown = PretendCluster(3), []
    events = {event.number: event for event in carry_out_on(cluster, orders(tmp_path, 8), run, "cpu", shown.append, pytest.fail)}
    assert shown == [Event(number, "begun") for number in range(8)]
    assert events.keys() == set(range(8))
    assert {number for number, event in events.items() if event.kind == "failed"} == {2, 3, 4}
    assert events[2].value == "too few images"
    assert events[3].value == "KeyError: 'ours'"
    assert "2 processes died" in events[4].value
    assert events[0].value == {"device": "cpu", "where": str(Path.cwd())}
    assert begun == {"4": 2} | {str(number): 1 for number in (0, 1, 2, 3, 5, 6, 7)}
    assert cluster.most == 1  # none waits behind another
    assert list(tmp_path.iterdir()) == []


def test_unfit_workers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(cluster: PretendCluster) -> None:
        list(carry_out_on(cluster, orders(tmp_path, 2), lambda *_: pytest.fail("begun"), "cpu", lambda _: None, pytest.fail))

    with monkeypatch.context() as patch:
        patch.setattr(on_cluster, "installed", lambda: "0.0.0 (0)")
        with pytest.raises(MedoodError, match=r"cannot take part: it has medood .*, not 0\.0\.0 \(0\)"):
            given(PretendCluster(1))
    monkeypatch.setattr(on_cluster, "sees", lambda folder, token: False)
    with pytest.raises(MedoodError, match="on a file system that all workers share"):
        given(PretendCluster(1))
    assert list(tmp_path.iterdir()) == []
