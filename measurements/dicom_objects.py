"""DICOM objects of a generated brain with planted lesions, and of series of your own: seconds, sizes, and faults.

    python measurements/dicom_objects.py [FOLDER ...]

Trains default_brain_flair on phantoms, scores every folder with it, whatever its images are, and makes all objects of the maps. "processor
s" is for all objects of all series of a folder, reading the images again included. "errors" are those that dciodvfy (Debian: dicom3tools)
finds; without it the column is empty.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pydicom
from measuring import table

import medood
from medood.tasks.deployment.dicom import dicom


def errors_in(file: Path) -> int:
    said = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False).stderr
    return sum(line.startswith("Error") for line in said.splitlines())


def row(name: str, slices: int, seconds: float, objects: Path) -> dict[str, str]:
    """Sizes by kind of object, of several series from the smallest to the largest."""
    sizes, errors, files = defaultdict(list), 0, sorted(objects.rglob("*.dcm"))
    for file in files:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        sizes[header.SOPClassUID.name.removesuffix(" Storage")].append(file.stat().st_size / 1000)
        errors += errors_in(file) if shutil.which("dciodvfy") else 0
    said = "; ".join(f"{kind} {_range(found)} KB" for kind, found in sorted(sizes.items()))
    checked = f"{errors} in {len(files)}" if shutil.which("dciodvfy") else ""
    return {"images": name, "slices": str(slices), "processor s": f"{seconds:.1f}", "objects": said, "errors": checked}


def _range(sizes: list[float]) -> str:
    return f"{min(sizes):,.0f}" + (f" to {max(sizes):,.0f}" if len(sizes) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        medood.write_phantoms(work / "phantoms")
        changes = {"training.tensorboard": False}
        run = medood.train("default_brain_flair", data=work / "phantoms" / "nifti", out=work / "run", changes=changes)
        for number, images in enumerate([work / "phantoms" / "dicom", *options.folders]):
            maps, objects = work / f"maps{number}", work / f"objects{number}"
            found = run.score_folder(images, work / f"scores{number}.csv", maps)
            started = time.process_time()
            dicom(maps, objects)
            seconds = time.process_time() - started
            slices = sum(line["level"] == "slice" for line in found.rows)
            rows.append(row("phantom" if number == 0 else images.name, slices, seconds, objects))
    print(table(rows))


if __name__ == "__main__":
    main()
