"""Which medood runs here, to compare with that of another machine."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from medood import __version__


@lru_cache
def installed() -> str:
    """Version and content of the medood that runs here."""
    package, digest = Path(__file__).parents[2], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{__version__} ({digest.hexdigest()[:8]})"


def differs(wanted: str) -> str | None:
    """A sentence on a worker that does not have the medood of its driver, which `installed` calls so."""
    if installed() == wanted:
        return None
    return f"it has medood {installed()}, not {wanted}: install the same medood on every worker."
