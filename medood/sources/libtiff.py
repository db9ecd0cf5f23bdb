"""What libtiff, the C library within Pillow, says of a file: kept from the terminal, and its errors remembered."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image as Picture

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


class LibtiffError(Exception):
    """libtiff reported an error; Pillow may have filled in what is missing."""


class _Heard(threading.local):
    errors = 0


_heard = _Heard()


@_Handler
def _on_error(module: bytes, words: bytes, arguments: int) -> None:
    _heard.errors += 1


@_Handler
def _on_warning(module: bytes, words: bytes, arguments: int) -> None:
    """Warnings are about tags that do not matter here."""


@contextmanager
def errors_are_raised() -> Iterator[None]:
    """Raises LibtiffError at the end of a block in which libtiff reported an error in this thread."""
    before = _heard.errors
    yield
    if _heard.errors > before:
        raise LibtiffError


def _listen() -> None:
    """Where Pillow hides the names of libtiff, as on Windows, nothing can be set and it may print."""
    try:
        library = ctypes.CDLL(Picture.core.__file__)  # its names are found through the library that uses it
        for setter, handler in ((library.TIFFSetErrorHandler, _on_error), (library.TIFFSetWarningHandler, _on_warning)):
            setter.argtypes, setter.restype = [_Handler], ctypes.c_void_p
            setter(handler)
    except (OSError, AttributeError):
        return


_listen()
