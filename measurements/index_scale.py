"""What an index costs: files, seconds and the peak of memory, on generated archives.

    python measurements/index_scale.py files FOLDER [--count 20000] [--workers N]
    python measurements/index_scale.py rows FOLDER [--count 1000000]

`files` writes small files (nine of ten are DICOM slices, in series of 50; the others are PNG) below FOLDER, makes their index, brings it up
to date when nothing has changed and when one in a hundred files is new, and looks through the folder without an index beside it.

`rows` writes no images: it fills an index with as many generated rows as if their headers had been read, in the shapes that `facts` makes,
has them grouped into series, goes through the entries as `score` does, brings the index up to date with one file in a hundred new, and says
the peak of memory. Each is a run of its own, since a peak is that of a process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from medood.core.console import Console
from medood.core.running.memory import peak_memory
from medood.index.archive import update
from medood.index.database import Database, writing
from medood.index.facts import Found, Row
from medood.index.finding import found_by
from medood.index.grouping import group
from medood.index.looking import read_new, take_stock
from medood.index.stored import stored_index
from medood.index.tokens import fingerprint, secret, tokens
from medood.sources.folder import Folder

_SERIES = 50  # slices
_UID = "1.2.826.0.1.3680043.8.498."
_QUIET = Console(quiet=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("files", "rows"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--workers", type=int)
    asked = parser.parse_args()
    if asked.what == "files":
        _files(asked.folder, asked.count or 20_000, asked.workers)
    else:
        _rows(asked.folder, asked.count or 1_000_000)


def _files(folder: Path, count: int, workers: int | None) -> None:
    root, file = folder / "archive", folder / "index.duckdb"
    _write(root, 0, count)
    for what, more in (("first call", 0), ("second call, nothing new", 0), ("third call, one in a hundred new", count // 100)):
        _write(root, count, more)
        started = time.perf_counter()
        report = update(root, file, workers=workers, console=_QUIET)
        _say(f"{what}: {report.read} headers read of {report.files} files", started, report.files)
    started = time.perf_counter()
    plain = Folder(root).index()
    _say("without an index", started, count)
    with found_by(Folder(root), root, file, _QUIET) as found:
        assert tuple(found.entries) == plain.entries, "the index holds something else than the folder"


def _write(root: Path, start: int, count: int) -> None:
    for number in range(start, start + count):
        folder = root / f"{number // 1000:05d}"
        if number % 10 == 9:
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16), number % 256, np.uint8)).save(folder / f"{number}.png")
        else:
            _slice(folder, number)


def _slice(folder: Path, number: int) -> None:
    series, place = divmod(number, _SERIES)
    target = folder / str(series) / f"{number}.dcm"
    target.parent.mkdir(parents=True, exist_ok=True)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{_UID}1.{number}"
    data.StudyInstanceUID, data.SeriesInstanceUID = f"{_UID}2.{series}", f"{_UID}3.{series}"
    data.PatientID, data.Modality, data.Manufacturer = f"P{series // 2}", "CT", "Generated"
    data.Rows = data.Columns = 16
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelSpacing, data.SliceThickness = [1, 1], 1
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, place - place // 10]
    data.PixelData = bytes(512)
    data.save_as(target, enforce_file_format=True)


def _rows(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    root, file, key = folder / "archive", folder / "rows.duckdb", secret()
    with writing(file, str(root)) as database:
        database["key"] = fingerprint(key)
        for what, number in (("rows written", count), ("one in a hundred new: rows written", count + count // 100)):
            started = time.perf_counter()
            _, _, new = take_stock(database, _generated(number))
            read_new(database, lambda shards: ([_row(each) for each in files] for files in shards), lambda shards, total: shards)
            _say(f"{what} ({new})", started, new)
            started = time.perf_counter()
            group(database, root, tokens(key))
            _say("grouped", started, new)
        _go_through(database, root)


def _go_through(database: Database, root: Path) -> None:
    started = time.perf_counter()
    index = stored_index(database, root)
    images = sum(entry.slices for entry in index.entries)
    _say(f"gone through {len(index.entries)} entries with {images} images", started, images)


def _generated(count: int) -> Iterator[Found]:
    names = (f"{number // 1000:07d}/{number // _SERIES}/{number}.{'png' if number % 10 == 9 else 'dcm'}" for number in range(count))
    return (Found(place, name, 50_000, 1, False) for place, name in enumerate(islice(names, count)))


def _row(file: Found) -> Row:
    """As `rows_of` makes it of the files that `files` writes."""
    stem, ending = Path(file.name).stem, Path(file.name).suffix
    if ending == ".png":
        answers = {"kind": {"value": ["image", None]}, "image": {"value": 1}}
        return Row(
            file.name, 50_000, 1, False, "image", None, None, None, None, None, "", None, f"image {stem}", None, False, _json(answers)
        )
    series, place = divmod(int(stem), _SERIES)
    study, uid, sop, patient = f"{_UID}2.{series}", f"{_UID}3.{series}", f"{_UID}1.{stem}", f"{series // 2:032x}"
    said = ["CT", "Generated", "", "", "", 0.0, patient, study, uid, "", sop, "", "", "1.2.840.10008.1.2.1", 1, "", False, []]
    where = [[0.0, 0.0, float(place - place // 10)], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], 1.0]
    plane = [16, 16, False, [1.0, 1.0], "patient", where, "", 19, {}, [1.0, 0.0]]
    answers = {"kind": {"value": ["dicom", None]}, "dicom": {"value": {"file": said, "planes": [plane]}}}
    key = f"study {study}"
    return Row(
        file.name,
        50_000,
        1,
        False,
        "dicom",
        "CT",
        study,
        uid,
        sop,
        f"patient {patient}",
        "",
        None,
        None,
        key,
        False,
        _json(answers),
    )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _say(what: str, started: float, count: int) -> None:
    seconds = time.perf_counter() - started
    print(f"{what}: {seconds:.1f} s, {count / max(seconds, 1e-9):.0f} a second, peak {(peak_memory() or 0) / 2**20:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
