"""What of a written map counts as inside the body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medood.core.geometry import photograph_geometry
from medood.evaluation.localisation import _inside, _Mapped
from medood.export.map_files import MapFiles


@pytest.mark.parametrize("usual", [(-1.37, 5.2), (0.0, 3.1)])
def test_a_picture_that_cannot_hold_zero_exactly_has_an_outside_all_the_same(tmp_path: Path, usual: tuple[float, float]) -> None:
    body = np.zeros((1, 24, 32), bool)
    body[:, 5:19, 6:28] = True
    values = np.where(body, np.random.default_rng(0).uniform(max(usual[0], 0.2), usual[1], body.shape), 0).astype(np.float32)
    files = MapFiles(tmp_path, "one", photograph_geometry((1, 24, 32)), "auto")
    line = {"map": files.write("map", values, usual), **files.meaning}
    entry = _Mapped("one", "p", tmp_path, line, 0, [0], [], {})
    np.testing.assert_array_equal(_inside(entry, 0.0), body)
