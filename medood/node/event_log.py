"""What a node tells, on stderr, without ever waiting for whoever should read it."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from medood.node.network import log

_MOST_WAITING = 10_000
_GOODBYE_S = 2.0
_STDERR = 2


@contextmanager
def told_on_stderr() -> Iterator[None]:
    """Everything that the node logs inside the block, a line per event with its time."""
    teller = _Teller()
    log.addHandler(teller)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(teller)
        teller.say_goodbye()


class _Teller(logging.Handler):
    """Lines go through a queue to a thread of their own.

    A program that started the node and does not read its stderr, or a terminal on hold, fills the pipe after some hundred studies; then
    whoever writes next waits for ever: in a node of threads that log, soon all of them. Here only this thread does. Lines beyond
    `_MOST_WAITING` are lost, and how many is said.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1

    def say_goodbye(self) -> None:
        """Wait until what was said is written, but not long."""
        with suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(_GOODBYE_S)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            if self._lost:
                line += f"\n({self._lost} lines before this one were lost: nobody read them.)"
                self._lost = 0
            with suppress(OSError):  # nobody is there any more
                _write_all(f"{line}\n".encode(errors="backslashreplace"))


def _write_all(text: bytes) -> None:
    """Past sys.stderr, whose lock a thread that waits would keep at the end of the process."""
    while text:
        text = text[os.write(_STDERR, text) :]
