"""With an archive that others wrote (Orthanc) and tools that others wrote (DCMTK), on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import requests
from dicom_writer import write_series
from node_trials import at_work, configuration, free_port, until
from toy_run import toy_run_on_disk

from medood.node.archives.archive import Archive
from medood.node.jobs import SENT
from medood.node.study_queue import open_queue
from medood.tasks.deployment.node import study_scorer

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
TOOLS = ("/usr/bin/storescu", "/usr/bin/findscu")  # pynetdicom puts programs of these names on the path
missing = [name for name in ("Orthanc",) if shutil.which(name) is None] + [
    tool for tool in (*TOOLS, str(PLUGIN)) if not Path(tool).exists()
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (Debian: orthanc orthanc-dicomweb dcmtk)"),
]
SIZE = 32
REPORT, SEGMENTATION, PICTURE = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.7"


@dataclass
class Orthanc:
    http: int
    dicom: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def classes(self, study: str) -> dict[str, tuple[str, str]]:
        """Series and instance of every object of a study that is no MR image, by SOP class."""
        rows = requests.get(f"{self.url}/studies/{study}/instances?includefield=00080016", timeout=20).json()
        found = [tuple(row[tag]["Value"][0] for tag in ("00080016", "0020000E", "00080018")) for row in rows]
        return {kind: (series, sop) for kind, series, sop in found if kind != "1.2.840.10008.5.1.4.1.1.4"}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder, place = tmp_path_factory.mktemp("orthanc"), Orthanc(free_port(), free_port())
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": place.http,
        "DicomPort": place.dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "DicomAlwaysAllowStore": False,
        "DicomCheckCalledAet": True,
        "DicomModalities": {"node": ["MEDOOD", "127.0.0.1", 104], "scanner": ["SCANNER", "127.0.0.1", 104]},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "log.txt").open("w") as log, subprocess.Popen(["Orthanc", folder / "orthanc.json"], stdout=log, stderr=log) as process:
        try:
            until(lambda: _answers(place), 60)
            yield place
        finally:
            process.terminate()


def _answers(place: Orthanc) -> bool:
    try:
        return requests.get(f"{place.url}/studies", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def run(tmp_path: Path):
    return toy_run_on_disk(tmp_path / "run")


def images(folder: Path, study: str, slices: int) -> tuple[list[Path], np.ndarray]:
    """A series with one bright cube, and where it lies: its middle in mm (x, y, z of DICOM)."""
    array = np.full((slices, SIZE, SIZE), 60, np.int16)
    array[20:30, 8:16, 20:28] = 255
    affine = np.array([[-0.8, 0, 0, 10], [0, -0.8, 0, 20], [0, 0, 1.5, -100], [0, 0, 0, 1.0]])
    extra = {"FrameOfReferenceUID": f"{study}.9", "StudyDate": f"{date.today():%Y%m%d}", "StudyTime": "1200"}
    files = write_series(folder, array, affine, modality="MR", series=f"{study}.1", study=study, extra=extra)
    middle = affine @ [23.5, 11.5, 24.5, 1]
    return files, np.array([-middle[0], -middle[1], middle[2]])


def storescu(port: int, called: str, folder: Path) -> None:
    command = [TOOLS[0], "-aet", "SCANNER", "-aec", called, "127.0.0.1", str(port), "+sd", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def fetched(orthanc: Orthanc, study: str, kind: str, path: Path) -> Path:
    series, sop = orthanc.classes(study)[kind]
    with path.open("wb") as file:
        Archive(orthanc.url).fetch(study, series, sop, file, 1 << 30)
    return path


def check_objects(orthanc: Orthanc, study: str, middle: np.ndarray, folder: Path) -> None:
    """The objects in the archive, read by WADO: the segmentation lies where the cube was planted."""
    assert set(orthanc.classes(study)) == {REPORT, SEGMENTATION, PICTURE}
    segmentation = highdicom.seg.segread(fetched(orthanc, study, SEGMENTATION, folder / "seg.dcm"))
    volume = segmentation.get_volume(combine_segments=True)
    place = volume.affine @ np.append(np.argwhere(volume.array > 0).mean(0), 1)
    assert np.allclose(place[:3], middle, atol=0.8)
    report = pydicom.dcmread(fetched(orthanc, study, REPORT, folder / "sr.dcm"))
    assert report.PatientID == pydicom.dcmread(folder / "seg.dcm").PatientID
    assert pydicom.dcmread(fetched(orthanc, study, PICTURE, folder / "sc.dcm")).pixel_array.ndim in (3, 4)


def test_two_hundred_slices_from_a_stranger_come_back_as_objects_in_the_archive(orthanc: Orthanc, tmp_path: Path, run) -> None:
    files, middle = images(tmp_path / "in", "1.2.840.99.1", 200)
    config = configuration(tmp_path / "node", stow={"url": orthanc.url}, quiet_s=1.0)
    with at_work(config, study_scorer(run, config.objects, "cpu")) as node:
        begun = time.monotonic()
        storescu(node.receiver.port, "MEDOOD", tmp_path / "in")
        sent = time.monotonic()
        queue = open_queue(config.folder)
        until(lambda: any(row[2] == SENT for row in queue.overview()), 120)
        print(f"{len(files)} slices in {sent - begun:.1f} s; objects in the archive {time.monotonic() - sent:.1f} s after the last one")
        assert queue.overview()[0][3] == len(files)
        queue.file.close()
    check_objects(orthanc, "1.2.840.99.1", middle, tmp_path)
    asked = [TOOLS[1], "-S", "-aet", "SCANNER", "-aec", "ORTHANC", "127.0.0.1", str(orthanc.dicom), "-k", "QueryRetrieveLevel=SERIES"]
    asked += ["-k", "StudyInstanceUID=1.2.840.99.1", "-k", "Modality=SEG", "-k", "SeriesInstanceUID"]
    answer = subprocess.run(asked, capture_output=True, text=True)
    assert orthanc.classes("1.2.840.99.1")[SEGMENTATION][0] in answer.stdout + answer.stderr


def test_what_is_in_the_archive_is_fetched_and_answered_by_c_store_once(orthanc: Orthanc, tmp_path: Path, run) -> None:
    files, middle = images(tmp_path / "in", "1.2.840.99.2", 40)
    storescu(orthanc.dicom, "ORTHANC", tmp_path / "in")
    store = {"host": "127.0.0.1", "port": orthanc.dicom, "called": "ORTHANC"}
    poll = {"url": orthanc.url, "every_s": 0.2, "filters": {"StudyInstanceUID": "1.2.840.99.2"}}
    config = configuration(tmp_path / "node", receive=None, poll=poll, store=store, quiet_s=1.0)
    with at_work(config, study_scorer(run, config.objects, "cpu")):
        until(lambda: set(orthanc.classes("1.2.840.99.2")) == {REPORT, SEGMENTATION, PICTURE}, 120)
        queue = open_queue(config.folder)
        until(lambda: any(row[2] == SENT for row in queue.overview()))
        for row in queue.file.all("SELECT sop FROM results"):
            queue.mark_result(row["sop"], "sending")  # as if the node had died before it knew
        queue.file.run("UPDATE studies SET state = 'scored'")
        until(lambda: any(row[2] == SENT for row in queue.overview()))
        assert [row[3] for row in queue.overview()] == [len(files)], "its own objects are not taken for images"
        queue.file.close()
    check_objects(orthanc, "1.2.840.99.2", middle, tmp_path)
