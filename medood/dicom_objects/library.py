"""The one door to highdicom: imported after pydicom was imported safely."""

from __future__ import annotations

from medood.sources.dicom.library import pydicom, quiet  # isort: skip  # before highdicom, which imports pydicom itself

import highdicom
import highdicom.ko
import highdicom.pm
import highdicom.sc
import highdicom.seg
import highdicom.sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

__all__ = ["Code", "codes", "highdicom", "pydicom", "quiet"]
