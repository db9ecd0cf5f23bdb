"""A run as a file that gives the same answers without medood, and the check that it still does."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from medood.artefacts.carried import Carried, carry
from medood.artefacts.description import described, parity
from medood.artefacts.files import SUFFIXES, Kind, beside, check, check_out, finish, open_program, write_program
from medood.artefacts.generated import generated
from medood.artefacts.parity import TOLERANCE, Agreement, Units, check_decisions, compared, of_medood, of_program
from medood.artefacts.program import OUTPUTS, Whole, write_down
from medood.artefacts.samples import read_samples
from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.metrics.calibration import Calibration
from medood.recipe.run import Run, load_run


def export_run(
    run: Path | Run,
    out: Path | None = None,
    *,
    kind: Kind = "onnx",
    wanted: Literal["auto", "pixels", "prepared"] = "auto",
    images: Path | None = None,
    no_images: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Path:
    """Write a run as an ONNX file, a torch program or a MONAI bundle, once it agrees with medood on 32 images; returns where it is.

    `out` is a file beside the run folder where none is named. `wanted` is the input: pixel values, or images that the caller prepares;
    "auto" takes pixel values where it can. `images` is a folder of
    images to compare on in place of the run's own held-out ones; with `no_images` none of them is stored, but noise that is like them on
    average. Raises MedoodError, a sentence on why, when the run cannot leave medood; nothing is left behind then.
    """
    console = console or Console()
    run = run if isinstance(run, Run) else load_run(run)
    out = out or run.folder.with_name(run.folder.resolve().name + (SUFFIXES[kind] or "_bundle"))
    check_out(out, kind, overwrite)
    carried = carry(run, read_samples(run, images, console), wanted)
    if no_images:
        carried = _with_noise(carried)
    calibration = Calibration.from_dict(run.calibration["image"])
    units = Units.of(calibration)
    of = "generated" if no_images else "held-out images of the run" if images is None else "images of the user"
    with console.step("Writing the program down"):
        program = _program(carried)
    ours = of_medood(carried)
    names = list(OUTPUTS[: 4 if len(ours.maps) else 3])
    description = described(carried, kind, names)
    with _part(out) as part:
        made = write_program(part, kind, out.name, program, description)
        theirs = of_program(open_program(beside(made, kind)["program"], kind), carried.inputs)
        agreement = compared(ours, theirs, units)
        _require(agreement, kind, len(carried.inputs))
        check_decisions(theirs, calibration, units)
        finish(made, kind, description | {"parity": parity(len(carried.inputs), of, units, agreement)}, carried.inputs, theirs)
        _move(made, out, kind)
    _report(carried, agreement, console)
    return out


def check_export(path: Path, console: Console | None = None) -> Agreement:
    """Compute an export's images again. Raises MedoodError when it is damaged, or answers differently than when it was written."""
    console = console or Console()
    description, agreement = check(path)
    known = description["parity"]
    console.say(f"{description['intended_use']} {description['detector']}, exported by medood {description['exported_with']['medood']}.")
    console.say(f"Against its own answers when it was written, on {agreement.sentence(known['images'])}")
    _require(agreement, description["kind"], known["images"])
    return agreement


def _program(carried: Carried) -> Any:
    """From two images that differ as much as any two."""
    inputs = torch.from_numpy(carried.inputs)
    means = inputs.mean((1, 2, 3))
    one, other = inputs[[int(means.argmin())]], inputs[[int(means.argmax())]]
    return write_down(Whole(carried.parts()), one, other, carried.computed_elsewhere)


def _with_noise(carried: Carried) -> Carried:
    return Carried(carried.run, carried.kind, carried.before, carried.grid, carried.raster, generated(carried.inputs))


def _require(agreement: Agreement, kind: str, images: int) -> None:
    if not agreement.good:
        raise MedoodError(
            f"The {kind} file does not give the answers it should: on {agreement.sentence(images)} At most {TOLERANCE:g} of the spread of "
            "the held-out scores, and of the map's colour scale, is let pass."
        )


@contextmanager
def _part(out: Path) -> Iterator[Path]:
    """A folder beside `out` for what is not whole yet; gone afterwards. Raises MedoodError where nothing can be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=out.parent) as part:
            yield Path(part)
    except OSError as error:
        raise MedoodError(f"Cannot write {out}: {error.strerror or 'the disk may be full'}. Choose another --out.") from error


def _move(made: Path, out: Path, kind: Kind) -> None:
    """The description last: with it the export is whole."""
    if kind == "monai-bundle":
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
        out.chmod(0o755)
        return
    there = beside(out, kind)
    there["description"].unlink(missing_ok=True)
    for part, place in beside(made, kind).items():
        place.chmod(0o644)
        place.replace(there[part])


def _report(carried: Carried, agreement: Agreement, console: Console) -> None:
    console.say(f"The file agrees with medood on {agreement.sentence(len(carried.inputs))}")
    if carried.kind == "prepared":
        console.warn(f"The file takes images that its caller has prepared, because {carried.before[0]}. Its description says how.")
    console.say(f"Not inside: {'; '.join(carried.not_inside)}.")
