"""Products of matrices have one thread in a command of medood, and as many as the user wants if the user says so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
sys.argv = ["medood", "--version"]
from medood.cli import main
try:
    main()
except SystemExit:
    pass
assert "numpy" not in sys.modules
import numpy
from threadpoolctl import threadpool_info
print("THREADS", *[pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"])
"""


@pytest.mark.parametrize(("said", "found"), [(None, 1), ("2", min(2, os.cpu_count() or 1))])
def test_threads_of_products(said: str | None, found: int) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    environment |= {"OPENBLAS_NUM_THREADS": said} if said else {}
    result = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    threads = result.stdout.rpartition("THREADS")[2].split()
    if not threads:
        pytest.skip("numpy works with another library than OpenBLAS here")
    assert set(threads) == {str(found)}
