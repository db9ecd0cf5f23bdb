"""Studies to send to a node, a scorer without a network, and a node at work in a thread."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from dicom_writer import SECRET, image_dataset, save, write_series
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from medood.node.archives.answers import keep_answers
from medood.node.config import NodeConfig
from medood.node.node import Node
from medood.node.scoring import Made

SECONDARY_CAPTURE, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.66.4"
CT = "1.2.840.10008.5.1.4.1.1.2"


def study(folder: Path, number: int, *, slices: int = 3, series: int = 1, size: int = 8) -> list[Path]:
    """Files of a CT study of so many series; everything that names the patient is SECRET."""
    files = []
    for k in range(1, series + 1):
        array = np.random.default_rng(number * 100 + k).integers(0, 1000, (slices, size, size)).astype(np.int16)
        place = folder / f"study{number}" / f"series{k}"
        uid = f"1.2.3.{number}"
        files += write_series(place, array, np.diag([1.0, 1.0, 2.0, 1.0]), series=f"{uid}.{k}", study=uid)
    return files


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def send(files: Collection[Path], port: int, *, called: str = "MEDOOD", calling: str = "SCANNER", **options: Any) -> list[int]:
    """The status of each file sent by C-STORE; fewer when the association breaks off, none when it is refused."""
    association = associate(port, called, calling, **options)
    statuses = []
    try:
        for path in files:
            if not association.is_established:
                break
            status = association.send_c_store(path).get("Status")
            if status is None:
                break
            statuses.append(int(status))
    finally:
        if association.is_established:
            association.release()
    return statuses


def associate(
    port: int, called: str = "MEDOOD", calling: str = "SCANNER", syntax: str = ExplicitVRLittleEndian, **options: Any
) -> Association:
    entity = AE(ae_title=calling)
    entity.connection_timeout = 5
    entity.add_requested_context(CT, syntax)
    entity.add_requested_context(SECONDARY_CAPTURE, syntax)
    return keep_answers(entity.associate("127.0.0.1", port, ae_title=called, **options))


def stand_in_score(images: Path, series: Collection[str], out: Path, kinds: Collection[str] = (SECONDARY_CAPTURE,)) -> Made:
    """An object of each kind per series. ImageComments has the UIDs of what was scored; its own UID follows from them, as medood's do."""
    found: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted(images.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if dataset.SeriesInstanceUID in series:
            found.setdefault(dataset.SeriesInstanceUID, []).append(dataset)
    files = []
    for number, (name, datasets) in enumerate(sorted(found.items())):
        scored = "\\".join(sorted(str(dataset.SOPInstanceUID) for dataset in datasets))
        for kind in kinds:
            key = int(hashlib.sha256((kind + scored).encode()).hexdigest()[:24], 16)
            made = image_dataset(np.zeros((4, 4), np.int16), modality="OT", series=f"2.25.{key}1", study=str(datasets[0].StudyInstanceUID))
            made.SOPClassUID, made.SOPInstanceUID, made.ImageComments = kind, f"2.25.{key}", scored.replace("\\", " ")
            made.SeriesDescription = name
            files.append(out / "objects" / f"{number}-{kind}.dcm")
            save(made, files[-1], ExplicitVRLittleEndian)
    (out / "scores.csv").write_text("id,score\n", encoding="utf-8")
    return Made(files)


def configuration(folder: Path, **sections: Any) -> NodeConfig:
    """Quick to decide: a study is complete after a fifth of a second."""
    values: dict[str, Any] = {
        "folder": str(folder),
        "receive": {"port": free_port(), "calling": ["SCANNER"]},
        "quiet_s": 0.2,
        "limits": {"free_gb": 0.0},
        "retry": {"first_s": 0.05, "longest_s": 0.1},
    }
    return NodeConfig.model_validate({**values, **sections})


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def at_work(config: NodeConfig, score: Callable[..., Made] = stand_in_score) -> Iterator[Node]:
    node = Node(config, score)
    failure: list[BaseException] = []

    def run() -> None:
        try:
            node.run()
        except BaseException as error:
            failure.append(error)
            node.ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    node.ready.wait(20)
    if failure:
        thread.join()
        raise failure[0]
    try:
        yield node
    finally:
        node.stop()
        thread.join(20)
        assert not thread.is_alive()


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for it; the tests never assert how long it took."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.02)


__all__ = ["CT", "SECONDARY_CAPTURE", "SECRET", "SEGMENTATION", "associate", "at_work", "configuration", "free_port"]
