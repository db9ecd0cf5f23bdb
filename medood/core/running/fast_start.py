"""A faster start for commands that only score: MONAI as it is where its optional packages are not installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

LEFT_OUT = ("gdown", "ignite", "matplotlib", "scipy.signal", "sklearn", "tensorboard")
"""What MONAI loads if it is there, for handlers, plots and downloads: more than half of the time that importing it takes."""


class _Absent(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname in LEFT_OUT:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def import_monai_alone() -> None:
    """Import MONAI without LEFT_OUT, for the whole life of this process, which must be one of our own and must not train.

    MONAI then believes that they are not installed; others import them as ever.
    """
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        import monai  # noqa: F401
    finally:
        sys.meta_path.remove(absent)
