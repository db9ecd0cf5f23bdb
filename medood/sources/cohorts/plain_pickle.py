"""Pickles of arrays, lists and dictionaries, read without running anything that a file names."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

_STATE = 5  # version, shape, type, order in memory, content of an array


def read_plain_pickle(content: bytes) -> Any:
    """What a pickle holds: arrays of unsigned bytes, lists, dictionaries, numbers and text; texts of Python 2 are decoded.

    A pickle can name any function of any module and have it called. Here every name but the few by which NumPy has its arrays rebuilt is
    refused, and those stand for functions of this file that only collect numbers. Raises pickle.UnpicklingError for all else, and whatever
    the standard library raises for a file that is damaged.
    """
    return _plain(_Unpickler(io.BytesIO(content), encoding="latin1").load())


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if found is not None:
            return found
        raise pickle.UnpicklingError("it holds something else than arrays, lists, dictionaries, numbers and text")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside the file")


class _Array:
    """The shape and the content of an array until the whole file is read."""

    def __init__(self) -> None:
        self.shape: Any = ()
        self.type: Any = None
        self.content: Any = b""
        self.by_columns: Any = False

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != _STATE:
            raise pickle.UnpicklingError("an array is described in an unknown way")
        _, self.shape, self.type, self.by_columns, self.content = state

    def array(self) -> np.ndarray:
        content = self.content.encode("latin1") if isinstance(self.content, str) else self.content  # how Python 2 wrote bytes
        if not isinstance(self.type, _Type) or self.type.name not in ("u1", "|u1", "uint8") or not isinstance(content, bytes | bytearray):
            raise pickle.UnpicklingError("an array holds something else than unsigned bytes")
        shape = self.shape if isinstance(self.shape, tuple) else ()
        if not all(type(side) is int and side >= 0 for side in shape) or prod(shape) != len(content):
            raise pickle.UnpicklingError("an array is not as large as it says")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if self.by_columns else "C")


class _Type:
    """The name of the type of an array's numbers."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """The order of bytes, of which a byte has none."""


class _StandIn:
    """What a file gets for the name of a function. It has nothing that a file could change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *values: Any) -> Any:
        return self._call(*values)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it would change a function")


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.content, made.type, made.shape, made.by_columns = content, kind, shape, order == "F"
    return made


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes are written in an unknown way")
    return text.encode("latin1")


def _refuse(*values: Any) -> None:
    raise pickle.UnpicklingError("an array is described in an unknown way")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _StandIn(lambda kind, shape, code: _Array()),
    ("numpy.core.numeric", "_frombuffer"): _StandIn(_from_buffer),
    ("numpy", "ndarray"): _StandIn(_refuse),
    ("numpy", "dtype"): _StandIn(lambda name, *rest: _Type(name)),
    ("_codecs", "encode"): _StandIn(_encode),
}


def _plain(value: Any, inside: frozenset[int] = frozenset()) -> Any:
    """Arrays in place of their descriptions; a container that holds itself is refused."""
    if isinstance(value, _Array):
        return value.array()
    if isinstance(value, list | tuple | dict) and id(value) in inside:
        raise pickle.UnpicklingError("a list holds itself")
    if isinstance(value, list | tuple):
        return [_plain(each, inside | {id(value)}) for each in value]
    if isinstance(value, dict):
        return {_text(key): _plain(each, inside | {id(value)}) for key, each in value.items()}
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return _text(value)
    raise pickle.UnpicklingError("it holds something else than arrays, lists, dictionaries, numbers and text")


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value
