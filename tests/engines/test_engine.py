"""What --engine and --workers may say."""

from __future__ import annotations

import re

import pytest

from medood.core.errors import MedoodError
from medood.engines import engine as module
from medood.engines.engine import Engine, engine_of


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: object())


def test_engines_by_their_names() -> None:
    assert engine_of("local", None) == Engine("local")
    assert engine_of("dask", None) == Engine("own", workers=None)
    assert engine_of("dask", 3) == Engine("own", workers=3)
    assert engine_of("dask://node-1.cluster:8786", None) == Engine("cluster", "node-1.cluster:8786")
    assert engine_of("dask://[::1]:8786/", None) == Engine("cluster", "[::1]:8786")


@pytest.mark.parametrize("text", ["ray", "", "dask:", "dask://", "dask://host", "dask://host:", "dask://host:port", "dask://a b:1", "Dask"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(MedoodError, match=re.escape(f"dask://HOST:PORT (the scheduler of a cluster); found {text!r}")):
        engine_of(text, None)


@pytest.mark.parametrize("text", ["local", "dask://host:8786"])
def test_workers_are_for_processes_of_our_own(text: str) -> None:
    with pytest.raises(MedoodError, match="--workers says how many processes --engine dask starts"):
        engine_of(text, 2)


def test_a_missing_library_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "distributed" else object())
    assert engine_of("local", None) == Engine("local")
    for text in ("dask", "dask://host:8786"):
        with pytest.raises(MedoodError, match=re.escape(f"--engine {text} needs Dask: run `pip install medood[cluster]`.")):
            engine_of(text, None)
