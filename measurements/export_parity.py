"""Which detectors leave medood in which format, and how far their answers then lie from medood's.

    python measurements/export_parity.py [--out export_parity.md] [--detectors autoencoder patch_core] [--epochs 4]

Every case of tests/detectors/test_detector_contract.py is trained on phantoms of 64 x 64 pixels as that test trains it (at most EPOCHS
epochs), calibrated on 60 more, and exported as a torch program and as an ONNX file. A table as Markdown: the largest difference over 32
further phantoms, of a score as a share of the distance between the lowest and the highest calibration score, and of a pixel of the first
eight maps as a share of their range; or the sentence that refuses the export. A MONAI bundle holds the torch program.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medood.artefacts.onnx_file import open_onnx, write_onnx
from medood.artefacts.parity import TOLERANCE, Agreement, Answers, Program, Units, compared, of_program
from medood.artefacts.program import OUTPUTS, AsPrepared, Parts, Whole, spread, write_down
from medood.artefacts.torch_file import open_torch, write_torch
from medood.core.detector import Detector
from medood.core.errors import MedoodError
from medood.metrics.calibration import Calibration

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / folder) for folder in ("support", "detectors")]

from detector_trials import phantoms  # noqa: E402
from test_detector_contract import ALL_CASES, Case, spec_of, trained  # noqa: E402

FORMATS: dict[str, tuple[Callable[..., None], Callable[[Path], Program]]] = {
    "torch": (write_torch, open_torch),
    "onnx": (write_onnx, open_onnx),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("export_parity.md"))
    parser.add_argument("--detectors", nargs="*", default=[])
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    rows = ["| detector | torch, MONAI: score | map | ONNX: score | map |", "|---|---|---|---|---|"]
    for case in ALL_CASES:
        if not arguments.detectors or case.name in arguments.detectors:
            rows.append(f"| {case} | {' | '.join(cells(case, arguments.epochs))} |")
            print(rows[-1], flush=True)
            arguments.out.write_text("\n".join(rows) + "\n", encoding="utf-8")


def cells(case: Case, epochs: int) -> list[str]:
    found = trained(case, spec_of(case), epochs=min(case.epochs, epochs))
    detector, spec = found.detector, found.spec
    images = phantoms(spec, 32, seed=30)
    normal = detector.score(phantoms(spec, 60, seed=31)).image.double().numpy()
    calibration = Calibration.fit(normal, np.arange(len(normal)).astype(str), 0.05)
    ours = answers(detector, images, calibration)
    units = Units(spread(calibration), float(np.ptp(ours.maps)) if len(ours.maps) else 1.0, calibration.threshold)
    whole = Whole(Parts(nn.Identity(), detector, spec.background, None, calibration, AsPrepared(0.0)))
    try:
        program = write_down(whole, images[:1], images[1:2], "a part of its score is computed outside of PyTorch.")
    except MedoodError as error:
        return [str(error), "", "", ""]
    made: list[str] = []
    for form in FORMATS:
        try:
            made += numbers(agreement(form, program, images, ours, units))
        except MedoodError as error:
            made += [str(error), ""]
    return made


def agreement(form: str, program: Any, images: Tensor, ours: Answers, units: Units) -> Agreement:
    write, read = FORMATS[form]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.onnx" if form == "onnx" else "a.pt2")
        write(path, program, {"outputs": OUTPUTS[: 4 if len(ours.maps) else 3]})
        return compared(ours, of_program(read(path), images.numpy()), units)


def answers(detector: Detector, images: Tensor, calibration: Calibration) -> Answers:
    each = [detector.score(image[None]) for image in images]
    score = np.array([scores.image.double().item() for scores in each])
    maps = [scores.map[0, 0].numpy() for scores in each[:8] if scores.map is not None]
    return Answers(score, calibration.p_value(score), calibration.anomalous(score), np.stack(maps) if maps else np.zeros((0, 1, 1)))


def numbers(found: Agreement) -> list[str]:
    mark = "" if found.good else f" (refused: above {TOLERANCE:g})"
    return [f"{found.score:.0e}{mark}", "" if found.map is None else f"{found.map:.0e}"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
