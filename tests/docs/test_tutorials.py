"""The tutorials run from their first cell to their last, without Jupyter, and are kept without what they printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_from_start_to_end(tutorial: Path, tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(tutorial.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    (tmp_path / "cells.py").write_text("\n\n".join("".join(cell["source"]) for cell in cells), encoding="utf-8")
    own = {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "MEDOOD_CACHE": str(tmp_path / "cache")}
    own |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp_path))
    done = subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, env=os.environ | own, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "anomalous" in done.stdout


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_kept_without_its_outputs(tutorial: Path) -> None:
    cells = json.loads(tutorial.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
