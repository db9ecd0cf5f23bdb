"""A node that is killed at any point loses nothing and sends nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from archive_stand_in import archive
from node_lives import KILLED, OFTEN, POINTS
from node_trials import configuration, send, study, uid_of, until

LIVES = 51
"""Each point three times; of what happens for each object or result, once the first time, once the second, once the third."""


class Scanner:
    """Sends every file until it is acknowledged, as a modality does."""

    def __init__(self, port: int) -> None:
        self._port, self._files, self._taken, self._stop = port, list[Path](), set[Path](), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, files: list[Path]) -> None:
        self._files += files

    @property
    def waiting(self) -> list[Path]:
        return [path for path in self._files if path not in self._taken]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            files = self.waiting
            statuses = send(files, self._port) if files else []
            self._taken |= {path for path, status in zip(files, statuses, strict=False) if status == 0}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the lives of a node are forked")
def test_fifty_kills_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    with archive() as pacs:
        config = configuration(tmp_path / "node", stow={"url": pacs.url}, quiet_s=0.05)
        assert config.receive
        (tmp_path / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
        scanner, sent = Scanner(config.receive.port), list[Path]()
        script = Path(__file__).parents[1] / "support" / "node_lives.py"
        with subprocess.Popen(
            [sys.executable, script, tmp_path / "config.json"], stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True
        ) as parent:
            assert parent.stdin
            assert parent.stdout
            for number in range(LIVES):
                point = list(POINTS)[5 * number % len(POINTS)]  # five apart: a study whose scoring was ended too often is given up
                parent.stdin.write(f"{point} {1 + number // len(POINTS) if point in OFTEN else 1}\n")
                parent.stdin.flush()
                files = study(tmp_path / "in", number, slices=1, series=3)
                sent += files
                scanner.add(files)
                parent.stdout.readline()
                assert parent.stdout.readline().strip() == str(KILLED), point
            parent.stdin.write("none\n")
            parent.stdin.flush()
            last = int(parent.stdout.readline())
            until(lambda: not scanner.waiting, 60)
            until(lambda: len({uid for result in pacs.results for uid in result.ImageComments.split()}) == len(sent), 60)
            until(lambda: not any(path.is_file() for path in (tmp_path / "node" / "studies").rglob("*")), 60)
            scanner.stop()
            os.kill(last, signal.SIGTERM)
            assert parent.stdout.readline().strip() == "0"
            parent.stdin.close()
        assert not [uid for uid, times in Counter(pacs.stored).items() if times > 1]
        scored = Counter(uid for result in pacs.results for uid in result.ImageComments.split())
        assert scored == Counter(uid_of(path) for path in sent)
        assert not list((tmp_path / "node" / "incoming").iterdir())
        assert not list((tmp_path / "node" / "work").glob("*/objects"))
