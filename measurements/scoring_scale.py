"""Seconds and peak memory of scoring N generated DICOM files with a run.

    python measurements/scoring_scale.py RUN [--files 1000 10000] [--folder DIR]

Writes N single-slice MR files, 100 to a series, and scores them in a process of its own, whose peak memory is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SLICES = 100


def write_series(folder: Path, number: int, rng: np.random.Generator, slices: int = SLICES) -> None:
    """A head-like ellipsoid of noise, 256 x 256 x `slices`, 16 bit, uncompressed."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    noise = rng.normal(500, 60, (256, 256))
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(slices):
        radius = 0.8 - ((k - slices / 2) / slices) ** 2
        pixels = np.where(x**2 + 1.4 * y**2 < radius, np.roll(noise, 7 * k), 0).astype(np.uint16)
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.PatientID, dataset.PatientName, dataset.Modality = f"phantom-{number}", "phantom", "MR"
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = series, study, frame
        dataset.Rows = dataset.Columns = 256
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelSpacing, dataset.ImageOrientationPatient = [1.0, 1.0], [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient, dataset.SliceThickness = [-128, -128, 1.5 * k], 1.5
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def measure(run: Path, images: Path) -> dict[str, float]:
    """Score `images` in a child process and return its seconds by stage and its peak memory."""
    out = images.parent / "scores.csv"
    code = (
        "import json, resource, sys; from pathlib import Path; from medood.core.running.memory import keep_freed_memory; "
        "from medood.tasks.scoring.score import score_folder; keep_freed_memory(); "
        "result = score_folder(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), overwrite=True); "
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; "
        "print(json.dumps(result.seconds | {'rows': result.rows, 'peak_mib': peak}))"
    )
    child = subprocess.run([sys.executable, "-c", code, run, images, out], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        images, rng, made = Path(place) / "images", np.random.default_rng(0), 0
        for count in sorted(options.files):
            while made * SLICES < count:
                write_series(images / f"series{made:04d}", made, rng)
                made += 1
            found = measure(options.run, images)
            print(f"{count} files: " + ", ".join(f"{key} {value:.1f}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
