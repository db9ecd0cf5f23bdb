"""`evaluate`, `benchmark` and `blind-spot`: how good runs are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medood.cli.ending import end_with_some_failed
from medood.cli.options import Bootstraps, Cache, Changes, Device, Part, Run, Scores, Seed, Source, Table
from medood.cli.printing import print_tables, width


def evaluate(
    scores: Scores,
    labels: Annotated[
        Path, typer.Option(help="CSV of id, slice, label (0 normal, 1 anomalous, empty: leave out), mask.", show_default=False)
    ],
    maps: Annotated[Path | None, typer.Option(help="Folder of the maps, to measure localisation where labels name masks.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for evaluation.json and the figures.")] = Path("evaluation"),
    form: Annotated[
        Literal["text", "markdown", "latex"], typer.Option("--format", help="How the tables are printed; LaTeX needs booktabs.")
    ] = "text",
    bootstraps: Bootstraps = 1000,
    seed: Seed = 0,
) -> None:
    """Compare scores with labels: AUROC, average precision, error rates and localisation, with intervals by patient.

    Also draws ROC, precision-recall and, where there are lesion masks, FROC curves, and the scores of both classes.
    """
    from medood.evaluation.report_tables import document
    from medood.tasks.judging.evaluate import evaluate as measure

    report = measure(scores, labels, maps=maps, out=out, seed=seed, bootstraps=bootstraps)
    typer.echo(document(report, form, width(otherwise=80)))


def benchmark(
    file: Annotated[str, typer.Argument(help="A benchmark file, or the name of one that comes with medood.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Folder below which the file's relative folders of images lie.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for runs, scores and tables.", show_default="runs/NAME OF THE FILE")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Runs to work on at the same time.", show_default="one per GPU, else one per core, 4 at most"),
    ] = None,
    device: Device = "auto",
    changes: Changes = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train runs again that another recipe has made.")] = False,
    only_tables: Annotated[bool, typer.Option("--only-tables", help="Only make the tables, of what is finished.")] = False,
    cache: Cache = None,
    engine: Annotated[
        str, typer.Option(help="Who works: local or dask, processes on this machine; dask://HOST:PORT, the workers of this Dask scheduler.")
    ] = "local",
) -> None:
    """Train and compare detectors on cohorts, and print the tables of a paper; the same command goes on after an interruption.

    Exit status 3 says that some runs failed; the others are in the tables. 130 and 143: stopped by Ctrl-C or SIGTERM. Each run computes
    with as many threads as OMP_NUM_THREADS says, otherwise the runs share the cores.
    """
    from medood.engines.engine import engine_of
    from medood.recipe.benchmarks.grid import load_grid

    chosen = engine_of(engine, None if engine == "local" else workers)
    grid = load_grid(file, data, changes or ())
    from medood.tasks.judging.benchmark import benchmark as carry_out

    folder = out or Path("runs") / Path(file).stem
    kept = {"retrain": retrain, "only_tables": only_tables}
    outcome = carry_out(grid, folder, workers=workers, device=device, cache=cache, engine=chosen, **kept)
    print_tables(outcome.tables)
    typer.echo(f"{outcome.folder} has them as Markdown, LaTeX and CSV too", err=True)
    if outcome.failed:
        end_with_some_failed(f"{len(outcome.failed)} runs failed; their log.txt says more.")


def blind_spot(
    run: Run,
    folder: Annotated[Path, typer.Argument(help="Folder of images of the run's kind that it was not made from.", show_default=False)],
    shift: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Also show it these images of another kind; may be repeated. Or 'T1={name: brats, root: FOLDER, modality: t1}'.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the tables and cases.csv.")] = Path("blind_spot"),
    source: Source = "folder",
    table: Table = None,
    part: Part = None,
    most: Annotated[int | None, typer.Option(min=1, help="Files or series to take at most, evenly spaced.", show_default="all")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the generated lesions and shifts.")] = 0,
    device: Device = "auto",
) -> None:
    """Ask whether a run knows when not to score: show it normal images, lesions, and images of another kind.

    Lesions (bright blobs) and shifts (turned, mirrored, upside down, inverted, noise, bias field, motion, ghosting, another organ, a
    photograph) are made from the normal images; images that are labelled anomalous are lesions too. Prints how often each is called in
    domain and normal, in domain and abnormal, or out of domain, the AUROC of every score, and which score fails on which shift.
    """
    from medood.tasks.judging.blind_spot import blind_spot as carry_out

    made = carry_out(run, folder, out, source=source, table=table, part=part, shifts=shift or (), most=most, seed=seed, device=device)
    print_tables(made.tables)
    typer.echo(f"{made.folder} has them as Markdown, LaTeX and CSV too, and cases.csv every image", err=True)
