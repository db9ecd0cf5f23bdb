"""Decodes compressed frames in processes of their own.

Codecs are libraries in C, C++ and Rust that meet whatever a damaged or hostile file holds. There they may crash, hang, eat memory or
print to the terminal: it costs one frame, never the folder, and what they print is known to belong to that frame.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import IO, Any

import numpy as np

from medood.core.shield import kind_of
from medood.sources.dicom.decoding import libraries
from medood.sources.dicom.layout import Layout

SECONDS = 120.0  # for one frame; the largest mammographs take a few
_SECONDS_TO_START = 120.0
_HARMLESS = b"Unsupported JPEG data precision"  # GDCM in SimpleITK tries 8 bits before 12
_START = "import sys; sys.path[:] = sys.argv[1:]; from medood.sources.dicom.decoding.process import serve; serve()"
_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "PIL")


class DecoderFailed(Exception):
    """A library could not decode a frame; the text is the name of the error's class, or Crash, Timeout or NoProcess."""


class DecoderProcess:
    """The near end of one process. Raises OSError where none can be started."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-c", _START, *sys.path]
        environment = os.environ | {"RUST_BACKTRACE": "0", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def wait_until_ready(self) -> None:
        """Raises DecoderFailed."""
        with self._within(_SECONDS_TO_START):
            _receive(self._answers)

    def decode(self, library: str, frame: bytes, layout: Layout, syntax: str) -> tuple[np.ndarray, str, bool]:
        """What libraries.decode returns, and whether the library said anything meanwhile. Raises DecoderFailed."""
        question = {"library": library, "layout": asdict(layout), "syntax": str(syntax)}
        with self._within(SECONDS):
            _send(self._questions, question, frame)
            answer, values = _receive(self._answers)
        if "error" in answer:
            raise DecoderFailed(answer["error"])
        array = np.frombuffer(values, answer["dtype"]).reshape(answer["shape"])
        return array, answer["photometric"], answer["said"]

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """Ends the process if it does not answer in time, and says what has become of it."""
        late = threading.Timer(seconds, self._process.kill)
        late.start()
        try:
            yield
        except (OSError, EOFError):
            kind = "Crash" if late.is_alive() else "Timeout"
            self.close()
            raise DecoderFailed(kind) from None
        finally:
            late.cancel()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        for pipe in (self._questions, self._answers):
            with suppress(OSError):
                pipe.close()
        self._process.kill()
        self._process.wait()


_idle: list[DecoderProcess] = []


def decode_apart(library: str, frame: bytes, layout: Layout, syntax: str) -> tuple[np.ndarray, str, bool]:
    """Decodes a frame in an idle process, or in a new one: there are as many as threads that decode. Raises DecoderFailed."""
    process = _taken() or _started()
    try:
        return process.decode(library, frame, layout, syntax)
    finally:
        if process.alive:
            _idle.append(process)


def _taken() -> DecoderProcess | None:
    """An idle process that nobody has ended meanwhile."""
    with suppress(IndexError):
        while True:
            process = _idle.pop()
            if process.alive:
                return process
            process.close()
    return None


def _started() -> DecoderProcess:
    try:
        process = DecoderProcess()
    except OSError:
        raise DecoderFailed("NoProcess") from None
    process.wait_until_ready()
    return process


def _close_all() -> None:
    while _idle:
        _idle.pop().close()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # two processes must not talk to one


def _send(pipe: IO[bytes], header: dict[str, Any], content: bytes) -> None:
    words = json.dumps(header).encode()
    pipe.write(struct.pack("<QQ", len(words), len(content)) + words)
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    words, content = struct.unpack("<QQ", _exactly(pipe, 16))
    return json.loads(_exactly(pipe, words)), _exactly(pipe, content)


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    found = pipe.read(count)
    if len(found) < count:
        raise EOFError
    return found


def serve() -> None:
    """The far end: says that it is ready, and answers until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who ask
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    with tempfile.TemporaryFile() as said:
        for descriptor in (1, 2):
            os.dup2(said.fileno(), descriptor)
        with suppress(EOFError, BrokenPipeError):
            _send(answers, {}, b"")
            while True:
                question, frame = _receive(questions)
                _send(answers, *_answer(question, frame, said))


def _answer(question: dict[str, Any], frame: bytes, said: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    said.seek(0)
    said.truncate()
    try:
        with _listening() as heard:
            values, photometric = libraries.decode(question["library"], frame, Layout(**question["layout"]), question["syntax"])
        _flush()
        answer = {"dtype": values.dtype.str, "shape": values.shape, "photometric": photometric}
        return answer | {"said": bool(heard or _printed(said))}, values.tobytes()
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return {"error": kind_of(error)}, b""


def _printed(said: IO[bytes]) -> bool:
    said.seek(0)
    return any(line.strip() and not line.startswith(_HARMLESS) for line in said)


class _Ear(logging.Handler):
    """Keeps the log records from warnings upwards."""

    def __init__(self, heard: list[Any]) -> None:
        super().__init__(logging.WARNING)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record)


@contextmanager
def _listening() -> Iterator[list[Any]]:
    """Collects the warnings and log records of the libraries."""
    heard: list[Any] = []
    handler = _Ear(heard)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for logger in loggers:
            logger.propagate = False
            logger.handlers[:] = [handler]
        yield heard
        heard += warned


def _flush() -> None:
    """Lets Python and C libraries write what they hold back, for a file is written in blocks."""
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None if os.name != "nt" else "ucrtbase").fflush(None)
