"""Which detector and preparation for a folder of normal images: candidates tried on pasted anomalies, and the winner's recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from medood import __version__
from medood.advising.anomalies import SIZES, cases
from medood.advising.candidates import Candidate, Values, candidates, networks
from medood.advising.contest import Contest, written
from medood.advising.cost import Cost, within
from medood.advising.images import drawn
from medood.advising.ranking import Ranked, directed, only_a_shortcut, rank
from medood.advising.survey import Survey, look
from medood.advising.written import recipe_text
from medood.core.console import Console, duration
from medood.core.device import pick_device
from medood.core.errors import MedoodError
from medood.core.files.atomic import write_text
from medood.core.volume import Entry, Source
from medood.data.found import check_found
from medood.data.opening import open_source
from medood.data.patients import EACH_ITS_OWN, unnamed
from medood.data.split import Parts, split
from medood.export.table_model import Block, Number, Row, Table
from medood.index.finding import found_by
from medood.recipe.loading import resolve
from medood.sources.fetching import named

HELD_OUT = 0.33
"""Share of the patients into whose images anomalies are pasted; more where that would be fewer than three, as intervals need."""

_ROWS = 12  # of the table
_GUESS = (
    "Pasted anomalies are not real ones, so this order is a first guess: check it with `medood benchmark` or `medood evaluate` as soon as "
    "you have images with real anomalies."
)


@dataclass(frozen=True)
class Advice:
    """Candidates with their readings, and trivial features, each the best first; `table` shows them.

    shortcut  whether a trivial feature does as well as the best candidate
    """

    ranked: Sequence[Ranked]
    trivial: Sequence[Ranked]
    shortcut: bool
    table: Table
    recipe: Path


def advise(
    folder: Path,
    out: Path,
    *,
    source: str = "folder",
    table: str | None = None,
    images: int = 300,
    budget: float | None = None,
    anomalies: Sequence[str] = (),
    detectors: Sequence[str] = (),
    dinov2: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    cache: Path | None = None,
    seed: int = 0,
    index: str | None = None,
) -> Advice:
    """Rank candidates by how well they tell pasted anomalies from held-out normal images, and write the best one's recipe to `out`.

    images     normal images that are used at most, a third of them held out
    budget     minutes; candidates that do not fit are left out
    anomalies  kinds to paste; all without any.  detectors  to try; all that fit the images without any
    dinov2     weights file of DINOv2 ViT-S/14, to try it too
    index      names an index to know the folder by

    Raises MedoodError when `out` is there, or the folder has too few images or patients.
    """
    if out.exists() and not overwrite:
        raise MedoodError(f"{out} is there already: choose another file with --out, or replace it with --overwrite.")
    console, target, what = Console(), pick_device(device), cases(anomalies)
    given: Values = {"name": source, "root": named(folder)} | ({"csv": table} if table else {})
    opened, parts = _opened(folder, given, index, seed, console)
    survey, parts = _surveyed(opened, parts, console)
    on, missing = networks(str(Path(dinov2).resolve()) if dinov2 else None)
    for sentence in missing:
        console.warn(sentence)
    found = candidates(survey, given, on, only=detectors, seed=seed)
    contest = Contest(opened, found, cache=cache, device=target, console=console)
    contest.prepare(*_drawn(parts, images, seed), images)
    with TemporaryDirectory(prefix="medood-advise-") as temporary:
        contest.paste(what, images, Path(temporary), seed)
        chosen = _affordable(contest, sum(entry.slices for entry in parts.train), budget, console)
        ranked, trivial = _ranked(contest, chosen, seed)
    shortcut = only_a_shortcut(ranked[0], trivial[0])
    said = [_conclusion(ranked[0], trivial[0], shortcut), _how(contest, what, images, seed), _GUESS]
    write_text(out, recipe_text(written(found, ranked[0].name), [_headline(survey), *said]))
    return Advice(ranked, trivial, shortcut, _table(ranked, trivial, said), out)


def _opened(folder: Path, given: Values, by: str | None, seed: int, console: Console) -> tuple[Source, Parts]:
    """The source, and its normal entries in two parts by patient; `by` names an index."""
    parameters = {key: value for key, value in given.items() if key not in ("name", "root")}
    source = open_source(given["name"], folder, **parameters)
    with console.step("Indexing"), found_by(source, folder, by, console) as index:
        check_found(index)
        share = max(HELD_OUT, min(0.5, 3 / max(1, len({entry.group for entry in index.entries}))))
        plan: Values = {
            "source": given,
            "transforms": "grey_image",
            "detector": {"name": "intensity"},
            "split": {"held_out": share, "seed": seed},
        }
        parts = split(index, resolve(plan, {}, "advise"))
    if unnamed([*parts.train, *parts.held_out]):
        console.say(EACH_ITS_OWN)
    return source, parts


def _surveyed(source: Source, parts: Parts, console: Console) -> tuple[Survey, Parts]:
    """What kind of images there are, and the entries of that kind."""
    with console.step("Looking at the images"):
        survey = look(source, [*parts.train, *parts.held_out])
    for sentence in survey.facts:
        console.say(sentence)
    return survey, Parts(*([each for each in part if (each.slices > 1) == survey.volumes] for part in (parts.train, parts.held_out)))


def _drawn(parts: Parts, images: int, seed: int) -> tuple[list[Entry], list[Entry]]:
    return drawn(parts.train, images - images // 3, seed), drawn(parts.held_out, images // 3, seed)


def _affordable(contest: Contest, everything: int, budget: float | None, console: Console) -> list[Candidate]:
    """Candidates that fit into the budget of minutes, once the costs of all were said."""
    costs = contest.costs(everything)
    trained_on = len(next(iter(contest.train.values())))
    kept = within(None if budget is None else 60 * budget, contest.candidates, costs, trained_on, contest.asked)
    known: set[str] = set()
    total = 0.0
    for candidate, each in zip(contest.candidates, costs, strict=True):
        seconds = each.seconds(trained_on, contest.asked, known)
        if candidate in kept:
            known.add(each.shared)
            total += seconds
        left_out = "" if candidate in kept else " Left out: beyond the budget."
        console.say(f"{candidate.title()}: {duration(seconds)} here, {_whole(each, everything)}{left_out}")
    console.say(f"{len(kept)} of {len(costs)} candidates take about {duration(total)} on this machine.")
    return kept


def _whole(each: Cost, everything: int) -> str:
    return f"{duration(each.all)} to train on all {everything} images{each.memory and '; '}{each.memory.rstrip('.')}."


def _ranked(contest: Contest, chosen: Sequence[Candidate], seed: int) -> tuple[list[Ranked], list[Ranked]]:
    found: dict[str, np.ndarray] = {}
    for number, candidate in enumerate(chosen, 1):
        with contest.console.step(f"{number}/{len(chosen)} {candidate.title()}"):
            found |= contest.scores(candidate, contest.trained(candidate))
    with contest.console.step("Trivial features and intervals"):
        return rank(found, *contest.rows, seed=seed), rank(directed(contest.plain()), *contest.rows, seed=seed)


def _number(each: Ranked) -> str:
    mean = each.mean
    ends = "" if mean.low is None or mean.high is None else f" [{mean.low:.3f}, {mean.high:.3f}]"
    return f"{mean.value:.3f}{ends}".replace("0.", ".")


def _conclusion(best: Ranked, trivial: Ranked, shortcut: bool) -> str:
    if shortcut:
        return (
            f"Only a shortcut was found: the trivial feature `{trivial.name}` ({_number(trivial)}) does as well as the best candidate, "
            f"{best.name} ({_number(best)}). No detector here sees more in these images than that."
        )
    return f"First: {best.name}, mean AUROC {_number(best)}; the best trivial feature, `{trivial.name}`, has {_number(trivial)}."


def _how(contest: Contest, what: Sequence[tuple[str, str]], images: int, seed: int) -> str:
    case, groups = contest.rows
    kinds, normal = ", ".join(dict.fromkeys(kind for kind, _ in what)), case == ""
    trained_on, patients = len(next(iter(contest.train.values()))), len(set(groups))
    few = "" if patients > 2 else " No interval, for that needs at least 3 held-out patients."
    return (
        f"Measured by medood {__version__} with --images {images} --seed {seed}: trained on {trained_on} normal images; {normal.sum()} "
        f"held-out normal images of {patients} patients against {(~normal).sum()} with pasted anomalies ({kinds}; each "
        f"{', '.join(SIZES)}). Mean over kinds and sizes of the AUROC, with the 95 % interval by patient.{few}"
    )


def _headline(survey: Survey) -> str:
    return f"Written by `medood advise`. {' '.join(survey.facts)}"


def _table(ranked: Sequence[Ranked], trivial: Sequence[Ranked], said: Sequence[str]) -> Table:
    """The mean over all cases, and the mean over the kinds of each size."""
    columns = ("mean", *SIZES, "worst case", "best case")

    def row(each: Ranked, kind: str) -> Row:
        by_size = [float(np.mean([value for case, value in each.cases.items() if case.endswith(f", {size}")])) for size in SIZES]
        ends = [
            f"{case} {each.cases[case]:.2f}".replace(" 0.", " .")
            for case in (min(each.cases, key=each.cases.__getitem__), max(each.cases, key=each.cases.__getitem__))
        ]
        mean = Number(each.mean.value, each.mean.low, each.mean.high)
        return Row(each.name, (mean, *map(Number, by_size), *ends), "trivial" if kind else "ours")

    more = len(ranked) - _ROWS
    blocks = (
        Block("", tuple(row(each, "") for each in ranked[:_ROWS])),
        Block("Trivial features", tuple(row(each, "trivial") for each in trivial[:3])),
    )
    left = (f"{more} more candidates were worse.",) if more > 0 else ()
    return Table(
        "advice",
        "Pasted anomalies against normal images, AUROC",
        (("", len(columns)),),
        columns,
        (None,) * len(columns),
        blocks,
        (*left, *said),
    )
