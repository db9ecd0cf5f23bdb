"""SIGTERM, by which a system or a scheduler asks a program to end, taken as Ctrl-C is: everything is tidied up on the way out."""

from __future__ import annotations

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


def unwind_when_terminated() -> None:
    """From now on SIGTERM raises Terminated in the main thread. For processes of our own, and only from their main thread.

    Otherwise the process would end at once, and half-written files and locks would stay behind. A SIGTERM that is already handled in
    another way, or ignored, is left alone.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated
