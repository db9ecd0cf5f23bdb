"""The one door to pynetdicom and to HTTP: imported with a sentence when they are missing, and silent, for their logs quote headers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

from medood.core.errors import MedoodError
from medood.core.shield import kind_of
from medood.sources.dicom.library import quiet

_LOGGERS = ("pynetdicom", "dicomweb_client", "urllib3", "requests")

VERIFICATION = "1.2.840.10008.1.1"
"""The SOP class of C-ECHO."""

log = logging.getLogger("medood.node")
"""What a node tells whoever runs it. Studies are numbers in it: no name, no id, no UID of a patient's study."""


def check_installed() -> None:
    """Raises MedoodError when the libraries for the network are not there."""
    missing = [name for name in ("pynetdicom", "dicomweb_client") if find_spec(name) is None]
    if missing:
        raise MedoodError(f"This needs {' and '.join(missing)}: run `pip install medood[net]`.")


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Withholds whatever libraries would log or print of the data of patients, in every thread."""
    from pynetdicom import _config

    with ExitStack() as undo:
        undo.enter_context(quiet())
        for logger in map(logging.getLogger, _LOGGERS):
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        for name, value in {"LOG_HANDLER_LEVEL": "none", "LOG_REQUEST_IDENTIFIERS": False, "LOG_RESPONSE_IDENTIFIERS": False}.items():
            undo.callback(setattr, _config, name, getattr(_config, name))
            setattr(_config, name, value)
        undo.callback(setattr, threading, "excepthook", threading.excepthook)
        threading.excepthook = _one_line
        yield


def _one_line(failure: threading.ExceptHookArgs) -> None:
    """A traceback may quote what was in a header."""
    log.error("A thread ended early (%s).", failure.exc_type.__name__ if failure.exc_value is None else kind_of(failure.exc_value))
