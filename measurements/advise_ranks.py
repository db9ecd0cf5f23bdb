"""How well the order of `medood advise`, which has seen normal images only, agrees with the order on real anomalies.

    python measurements/advise_ranks.py DATA SETS... [--out FILE] [--images N] [--test N] [--only DETECTOR ...] [--dinov2 FILE]

DATA holds the images and splits/SET.csv (path, group, label, part); `brats` stands for the folder of that name, of whose subjects two at a
time are the test. Every candidate is trained once, on the normal training images that `advise` draws, and asked about its pasted anomalies
and about the test images. FILE (JSON, kept and added to) has both AUROCs of every candidate by set, and the AUROC of every kind of anomaly.

Spearman's rank correlation is that between the two orders. The regret is what the first of `advise` has less than the best in hindsight;
beside it stands what a candidate chosen by lot has less on average.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from measuring import table
from scipy.stats import spearmanr

from medood.advising.anomalies import KINDS, cases
from medood.advising.candidates import Values, candidates, networks
from medood.advising.contest import Contest
from medood.advising.images import Shown, drawn
from medood.advising.ranking import directed, rank
from medood.advising.survey import look
from medood.core.console import Console
from medood.core.volume import Entry, Source
from medood.data.cache import CachedEntry
from medood.data.opening import open_source
from medood.data.split import Parts, split
from medood.metrics.ranking import auroc, curve
from medood.recipe.loading import resolve


def folds(data: Path, name: str) -> Iterator[tuple[Values, Source, Parts, list[Entry]]]:
    """What `advise` may see, and the test entries; once for a set with a split, three times for brats."""
    if name != "brats":
        given: Values = {"name": "folder", "root": str(data), "csv": f"splits/{name}.csv"}
        source = open_source("folder", data, csv=given["csv"])
        index = source.index()
        yield given, source, split(index, _recipe(given)), [e for e in index.entries if e.part == "test" and e.label is not None]
        return
    given = {"name": "brats", "root": str(data / "brats")}
    source = open_source("brats", data / "brats")
    entries = source.index().entries
    for first in range(0, len(entries), 2):
        test = list(entries[first : first + 2])
        seen = [entry for entry in entries if entry not in test]
        yield given, source, Parts(seen[::2], seen[1::2]), test


def _recipe(given: Values) -> Any:
    return resolve({"source": given, "transforms": "grey_image", "detector": {"name": "intensity"}}, {}, "advise_ranks")


def shown(each: CachedEntry) -> Shown:
    """All slices of a test entry; those count that are labelled."""
    rows = np.arange(len(each.slices))
    return Shown(each.folder / "images.npy", rows, each.slices, np.isin(each.labels, (0, 1)), each.raster, each.entry.group)


def of_slices(entries: Sequence[CachedEntry]) -> np.ndarray:
    """The labels of those that have one."""
    return np.concatenate([each.labels[np.isin(each.labels, (0, 1))] for each in entries])


def thinned(entries: Sequence[Entry], most: int) -> list[Entry]:
    count = min(len(entries), most)
    return [entries[number * len(entries) // count] for number in range(count)]


def fold(given: Values, source: Source, parts: Parts, test: Sequence[Entry], options: argparse.Namespace) -> dict[str, Any]:
    """AUROCs of every candidate: "test", "advised" (the mean over cases), and "cases" by their names; trivial features likewise."""
    console, started = Console(), time.perf_counter()
    survey = look(source, [*parts.train, *parts.held_out])
    found = candidates(survey, given, networks(options.dinov2)[0], only=options.only)
    contest = Contest(source, found, cache=options.cache, device=torch.device("cpu"), console=console)
    held_out = options.images // 3
    contest.prepare(drawn(parts.train, options.images - held_out, 0), drawn(parts.held_out, held_out, 0), options.images)
    prepared = contest.prepared(thinned(test, options.test), "test")
    asked = {key: [shown(each) for each in images.entries] for key, images in prepared.items()}
    labels = {key: of_slices(images.entries) for key, images in prepared.items()}  # preparations differ in what has too little of the body
    pasted: dict[str, np.ndarray] = {}
    real: dict[str, float] = {}
    with TemporaryDirectory(prefix="medood-advise-") as temporary:
        contest.paste(cases([]), options.images, Path(temporary), 0)
        for candidate in found:
            detector = contest.trained(candidate)
            pasted |= contest.scores(candidate, detector)
            scores = contest.scores(candidate, detector, asked[candidate.shown_as])
            real |= {title: float(auroc(curve(values, labels[candidate.shown_as]))) for title, values in scores.items()}
            console.say(f"{candidate.title()}: {time.perf_counter() - started:.0f} s")
        case, groups = contest.rows
        ranked = rank(pasted, case, groups)
        trivial = rank(directed(contest.plain()), case, groups)
        first = labels[found[0].shown_as]
        plain = {name: float(auroc(curve(values, first))) for name, values in directed(contest.plain(asked)).items()}
    rows = {each.name: {"test": real[each.name], "advised": each.mean.value, "cases": dict(each.cases)} for each in ranked}
    return {
        "candidates": rows,
        "trivial": {each.name: {"test": plain[each.name], "advised": each.mean.value} for each in trivial},
        "images": {"train": len(next(iter(contest.train.values()))), "pasted": int((case != "").sum()), "test": len(first)},
        "seconds": time.perf_counter() - started,
    }


def averaged(results: Sequence[dict[str, Any]], kinds: Sequence[str] = KINDS) -> dict[str, tuple[float, float]]:
    """Advised and test AUROC of every candidate, means over the folds; advised by some kinds of anomalies alone if wanted."""
    found = {}
    for name in results[0]["candidates"]:
        rows = [result["candidates"][name] for result in results]
        advised = [np.mean([value for case, value in row["cases"].items() if case.split(",")[0] in kinds]) for row in rows]
        found[name] = float(np.mean(advised)), float(np.mean([row["test"] for row in rows]))
    return found


def summary(name: str, results: Sequence[dict[str, Any]]) -> dict[str, str]:
    rows = averaged(results)
    advised, test = np.array(list(rows.values())).T
    first, best = int(advised.argmax()), int(test.argmax())
    bright = np.array(list(averaged(results, ("bright",)).values()))[:, 0]
    trivial = {key: np.mean([result["trivial"][key]["test"] for result in results]) for key in results[0]["trivial"]}
    top = max(trivial, key=trivial.__getitem__)
    return {
        "set": name,
        "candidates": str(len(rows)),
        "Spearman": f"{spearmanr(advised, test).statistic:.2f}",
        "first of advise": f"{list(rows)[first]} ({test[first]:.3f})",
        "best in hindsight": f"{list(rows)[best]} ({test[best]:.3f})",
        "regret": f"{test[best] - test[first]:.3f}",
        "by lot": f"{test[best] - test.mean():.3f}",
        "worst": f"{test[best] - test.min():.3f}",
        "Spearman, bright alone": f"{spearmanr(bright, test).statistic:.2f}",
        "regret, bright alone": f"{test[best] - test[int(bright.argmax())]:.3f}",
        "best trivial feature": f"{top} ({trivial[top]:.3f})",
        "minutes": f"{sum(result['seconds'] for result in results) / 60:.1f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("advise_ranks.json"))
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--test", type=int, default=400, help="test entries at most, evenly spaced")
    parser.add_argument("--only", nargs="*", default=[], help="detectors to try; otherwise all that advise tries")
    parser.add_argument("--dinov2")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args(arguments)
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for name in options.sets:
        found[name] = [fold(*each, options) for each in folds(options.data, name)]
        options.out.write_text(json.dumps(found, indent=1))
    print(table([summary(name, results) for name, results in found.items()]))


if __name__ == "__main__":
    main()
