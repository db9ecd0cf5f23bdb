"""The one door to pydicom: imported safely, and silenced while it handles headers of patients."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def _without_folder_called_dl() -> Iterator[None]:
    """Lets GDCM load although a folder `dl` lies on the search path.

    `gdcm` asks for a module `dl` that Python lost long ago. A folder of that name in the working directory answers instead, and
    then neither gdcm nor pydicom, which loads it, can be imported.
    """
    absent = "dl" not in sys.modules
    if absent:
        sys.modules["dl"] = None  # type: ignore[assignment]  # the import system's mark for "there is none"
    try:
        yield
    finally:
        if absent:
            del sys.modules["dl"]


with _without_folder_called_dl():
    import pydicom
    import pydicom.encaps
    import pydicom.filereader
    import pydicom.pixels

__all__ = ["pydicom", "quiet"]

_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg")
_NOWHERE = logging.NullHandler()
_lock = threading.Lock()
_depth = 0
_undo = ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """Withholds every log record and warning of the decoding libraries: they quote header values, names of patients among them.

    It also spares pydicom the checks that lead to nothing but warnings. Blocks may be nested and may overlap in several threads:
    the silence ends with the last of them.
    """
    global _depth, _undo
    with _lock:
        _depth += 1
        if _depth == 1:
            _undo = _silence()
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _undo.close()


def _silence() -> ExitStack:
    """Silences the libraries; closing what it returns brings them back as they were."""
    undo = ExitStack()
    undo.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    for logger in map(logging.getLogger, _LOGGERS):  # not by their levels: to set one takes as long as reading a small header
        undo.callback(setattr, logger, "handlers", logger.handlers)
        undo.callback(setattr, logger, "propagate", logger.propagate)
        logger.handlers, logger.propagate = [_NOWHERE], False
    settings = pydicom.config.settings
    undo.callback(setattr, settings, "reading_validation_mode", settings.reading_validation_mode)
    settings.reading_validation_mode = pydicom.config.IGNORE
    return undo
