"""What a run of a benchmark writes into its log."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medood.benchmarking.images import Images
from medood.benchmarking.job import Order, carry_out
from medood.core.errors import MedoodWarning


def test_the_log_has_what_is_printed_and_a_warning_as_its_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def train(*_: Any, **__: Any) -> None:
        print("Training on 4 images.")
        os.write(2, b"a library's words\n")
        warnings.warn("The network collapsed: take more images.", MedoodWarning, stacklevel=1)
        (tmp_path / "run" / "manifest.json").write_text("{}")

    def score(run: Path, *_: Any, **__: Any) -> None:
        (run / "scores").mkdir()

    own = Images({"name": "folder"}, lambda index: index, "of the images")
    job, cohort = SimpleNamespace(place="run", recipe=None), SimpleNamespace(training="of the training images", own=own)
    order: Any = Order(job, tmp_path, cohort, {}, ("cpu",), False, None)  # type: ignore[arg-type]
    with capfd.disabled():
        seconds = carry_out(order, 0, lambda _: None, train=train, score=score)
    assert seconds.keys() == {"train", "score"}
    lines = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(lines) == ["Training on 4 images.", "Warning: The network collapsed: take more images.", "a library's words"]
