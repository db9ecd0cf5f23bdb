"""SIGTERM, by which a system or a scheduler asks a program to end, taken as Ctrl-C is: everything is tidied up on the way out."""

from __future__ import annotations

import math
import signal
import time
from types import FrameType

_ONE_WISH_S = 2.0
"""Whoever ends a process and its group, as `timeout` and schedulers do, sends the signal twice: it is one wish, and tidying up goes on."""


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


class _Unwinding:
    """The handler: raises Terminated, but not again for the same wish. A later one counts, for an exception can be lost."""

    def __init__(self) -> None:
        self.last = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        before, self.last = self.last, time.monotonic()
        if self.last - before > _ONE_WISH_S:
            raise Terminated


def unwind_when_terminated() -> None:
    """From now on SIGTERM raises Terminated in the main thread. For processes of our own, and only from their main thread.

    Otherwise the process would end at once, and half-written files and locks would stay behind. A SIGTERM that is already handled in
    another way, or ignored, is left alone.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _Unwinding())


def end_undisturbed() -> None:
    """Everything is tidied up and the process is about to end: another SIGTERM would only leave a traceback."""
    if isinstance(signal.getsignal(signal.SIGTERM), _Unwinding):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
