"""What a node takes: studies per hour, seconds from the last slice to the last result, and its memory from study to study.

    python measurements/node_load.py [--run RUN] [--seconds 300] [--studies N] [--slices 100] [--quiet 1]

Sends generated MR studies (256 x 256, one series each) by C-STORE for so long, one after the other, to a node in a process of its own, and
takes its results by C-STORE, all on this machine. Without a RUN, one is made before: the recipe default_brain_flair on phantoms.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pydicom
from measuring import table
from pydicom.uid import generate_uid
from pynetdicom import AE, StoragePresentationContexts, evt
from scoring_scale import write_series

from medood.node.archives.answers import keep_answers
from medood.node.jobs import SENT
from medood.node.study_queue import StudyQueue, open_queue


class Archive:
    """Takes results; `last` has the time of the last one of each study."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        entity = AE("ARCHIVE")
        entity.supported_contexts = StoragePresentationContexts
        self.port = free_port()
        entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])

    def _store(self, event: evt.Event) -> int:
        self.last[str(event.dataset.StudyInstanceUID)] = time.monotonic()
        return 0


def finished(queue: StudyQueue) -> list[str]:
    """UIDs of the studies whose results the archive has confirmed."""
    return [uid for _, uid, state, *_ in queue.overview() if state == SENT]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory_mib(process: int) -> float:
    """What a process holds in main memory now (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def send(slices: list[pydicom.Dataset], port: int) -> tuple[str, float]:
    """A new study of the same pixels; its UID, and when its last slice was acknowledged."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    entity = AE("SCANNER")
    entity.add_requested_context(slices[0].SOPClassUID, slices[0].file_meta.TransferSyntaxUID)
    association = keep_answers(entity.associate("127.0.0.1", port, ae_title="MEDOOD"))
    for dataset in slices:
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        assert association.send_c_store(dataset).Status == 0
    association.release()
    return str(study), time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--seconds", type=float, default=300.0, help="no new study is sent afterwards")
    parser.add_argument("--studies", type=int, default=10**6, help="and none after so many")
    parser.add_argument("--slices", type=int, default=100, help="at most 100")
    parser.add_argument("--quiet", type=float, default=1.0)
    arguments = parser.parse_args()
    archive, port = Archive(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder) / "series", 0, np.random.default_rng(0))
        slices = [pydicom.dcmread(path) for path in sorted((Path(folder) / "series").glob("*"))[: arguments.slices]]
        run = arguments.run or trained(Path(folder))
        config = Path(folder) / "node.yaml"
        config.write_text(
            f"folder: queue\nquiet_s: {arguments.quiet}\nreceive: {{port: {port}, calling: [SCANNER]}}\n"
            f"store: {{host: 127.0.0.1, port: {archive.port}, called: ARCHIVE}}\nlimits: {{free_gb: 0.1}}\n",
            encoding="utf-8",
        )
        with subprocess.Popen([sys.executable, "-m", "medood", "node", run, "--config", config], stderr=subprocess.PIPE, text=True) as node:
            assert node.stderr
            while "Listening" not in node.stderr.readline():
                assert node.poll() is None
            threading.Thread(target=node.stderr.read, daemon=True).start()
            try:
                report(arguments.seconds, arguments.studies, slices, port, archive, open_queue(Path(folder) / "queue"), node.pid)
            finally:
                node.terminate()


def trained(folder: Path) -> Path:
    """A run of the default recipe for brain FLAIR, quickly made."""
    for words in (
        ["phantoms", folder / "phantoms"],
        ["train", "default_brain_flair", "--data", folder / "phantoms" / "nifti", "--out", folder / "run"],
    ):
        subprocess.run([sys.executable, "-m", "medood", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "run"


def report(wanted: float, most: int, slices: list[pydicom.Dataset], port: int, archive: Archive, queue: StudyQueue, process: int) -> None:
    begun, sent, memory = time.monotonic(), dict[str, float](), dict[int, float]()
    sending = 0.0
    while time.monotonic() < begun + wanted and len(sent) < most:
        started = time.monotonic()
        study, acknowledged = send(slices, port)
        sent[study] = acknowledged
        sending += acknowledged - started
        while len(sent) - len(finished(queue)) > 2:  # as much as two studies ahead
            time.sleep(0.2)
        memory[len(finished(queue))] = memory_mib(process)
    studies = len(sent)
    while len(finished(queue)) < studies:
        time.sleep(0.2)
    done = archive.last
    memory[studies] = memory_mib(process)
    seconds = max(done.values()) - begun
    waits = [done[study] - sent[study] for study in sent]
    shown = sorted(memory)
    picked = sorted({shown[round(share * (len(shown) - 1))] for share in (0.1, 0.25, 0.5, 0.75, 1.0)})
    row = {
        "studies": str(studies),
        "slices each": str(len(slices)),
        "studies per hour": f"{3600 * studies / seconds:.0f}",
        "slices received per second": f"{studies * len(slices) / sending:.0f}",
        "last slice to last result, s: median (most)": f"{statistics.median(waits):.1f} ({max(waits):.1f})",
        "MiB after so many studies": ", ".join(f"{memory[number]:.0f} ({number})" for number in picked),
    }
    print(table([row]))


if __name__ == "__main__":
    main()
