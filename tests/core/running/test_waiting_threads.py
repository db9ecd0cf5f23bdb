"""In a command of medood threads of libraries do not wait busily; the user may say otherwise."""

from __future__ import annotations

import os
import re
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
assert not {"numpy", "torch"} & set(sys.modules)
"""
PRODUCTS = """
import numpy
from threadpoolctl import threadpool_info
print("THREADS", *[pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"])
"""


def _after_a_command(script: str, **said: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS") and not key.startswith(("GOMP_", "OMP_"))}
    return subprocess.run([sys.executable, "-c", SCRIPT + script], env=kept | said, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(("said", "found"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, min(2, os.cpu_count() or 1))])
def test_threads_of_products(said: dict[str, str], found: int) -> None:
    threads = _after_a_command(PRODUCTS, **said).stdout.rpartition("THREADS")[2].split()
    if not threads:
        pytest.skip("numpy works with another library than OpenBLAS here")
    assert set(threads) == {str(found)}


@pytest.mark.parametrize(("said", "found"), [({}, "10000"), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_how_long_threads_of_torch_wait_before_they_sleep(said: dict[str, str], found: str) -> None:
    shown = re.search(r"GOMP_SPINCOUNT = '(\d+)'", _after_a_command("import torch", OMP_DISPLAY_ENV="verbose", **said).stderr)
    if shown is None:
        pytest.skip("torch works with another library than GNU's OpenMP here")
    assert shown[1] == found
