"""SIGTERM: tidied up once, however often it is sent, and a quiet end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from medood.core.running import termination
from medood.core.running.termination import Terminated, end_undisturbed, unwind_when_terminated

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is not sent on Windows")


@pytest.fixture(autouse=True)
def plain_signal() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_same_wish_is_heard_once_and_a_later_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(termination.time, "monotonic", lambda: now)
    unwind_when_terminated()
    with pytest.raises(Terminated):
        signal.raise_signal(signal.SIGTERM)
    now += 0.5
    signal.raise_signal(signal.SIGTERM)  # to the group, after the process itself
    now += 60
    with pytest.raises(Terminated):
        signal.raise_signal(signal.SIGTERM)


def test_a_process_that_has_tidied_up_ends_without_a_traceback() -> None:
    life = (
        "import atexit, time\n"
        "from medood.core.running.termination import Terminated, end_undisturbed, unwind_when_terminated\n"
        "unwind_when_terminated()\n"
        "atexit.register(lambda: (print('leaving', flush=True), input()))\n"
        "try:\n    print('at work', flush=True)\n    time.sleep(60)\n"
        "except Terminated:\n    end_undisturbed()\n"
    )
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", life], text=True, **streams) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "leaving\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate("\n", timeout=60)
    assert (process.returncode, said) == (0, "")


def test_what_others_have_said_of_the_signal_stays() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    unwind_when_terminated()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_undisturbed()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
