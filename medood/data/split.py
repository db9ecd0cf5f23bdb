"""Which entries are trained on, held out, or looked at: by patient, label and part."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from medood.core.errors import MedoodError, TrainingError
from medood.core.volume import Entry, Index
from medood.recipe.recipe import Recipe


@dataclass(frozen=True)
class Parts:
    """Entries of normal images, no patient in two parts."""

    train: list[Entry]
    held_out: list[Entry]


def split(index: Index, recipe: Recipe) -> Parts:
    """Normal entries into train and held-out, by patient. A table's own `part` column is followed; "test" is never used.

    Where some entries have a label, those without one are left out, unless their mask will tell.
    """
    wrong = [e for e in index.entries if e.label == 1 and e.part in ("train", "val")]
    if wrong:
        raise TrainingError(
            f"{index.root}: {len(wrong)} entries of the parts train and val are labelled anomalous, the first is {wrong[0].id}. "
            "Training sees normal images only: move them to the part test."
        )
    labelled = any(e.label is not None for e in index.entries)  # then an empty label means: leave out
    normal = [e for e in index.entries if e.label == 0 or (e.label is None and (e.mask is not None or not labelled))]
    usable = [e for e in normal if e.part != "test" and "no_labels" not in e.issues]
    if not usable:
        raise TrainingError(f"{index.root}: found no normal images to train on ({_reasons(index)}). `medood inspect` tells more.")
    if any(e.part == "val" for e in usable):
        return Parts([e for e in usable if e.part != "val"], [e for e in usable if e.part == "val"])
    anomalous = {e.group for e in index.entries if e.label == 1} if recipe.split.test else set()
    groups = sorted({e.group for e in usable} - anomalous)
    order = [groups[i] for i in np.random.default_rng(recipe.split.seed).permutation(len(groups))]
    count = max(1, round(recipe.split.held_out * len(groups)))
    aside = count + round(recipe.split.test * len(groups))
    if aside >= len(groups):
        raise TrainingError(
            f"{index.root}: {len(groups)} patient(s) cannot be split into training and held-out normals; at least 2 are needed, more if "
            "some are set aside for a test. If the patients were not recognised, name them in a table with a `group` column."
        )
    train, held = set(order[aside:]), set(order[:count])
    return Parts([e for e in usable if e.group in train], [e for e in usable if e.group in held])


def split_contrast(index: Index, recipe: Recipe, apart: Collection[str] = ()) -> Parts:
    """What nobody has to label into train and held-out, by patient, as `split` does; the patients `apart` are left out.

    Entries labelled anomalous are left out, as they are everywhere in training, and so is the part "test".
    """
    usable = [e for e in index.entries if e.label != 1 and e.part != "test" and e.group not in apart]
    if any(e.part == "val" for e in usable):
        return Parts([e for e in usable if e.part != "val"], [e for e in usable if e.part == "val"])
    groups = sorted({e.group for e in usable})
    order = [groups[i] for i in np.random.default_rng(recipe.split.seed).permutation(len(groups))]
    held = set(order[: max(1, round(recipe.split.held_out * len(groups)))]) if len(groups) > 1 else set()
    return Parts([e for e in usable if e.group not in held], [e for e in usable if e.group in held])


def _reasons(index: Index) -> str:
    labelled = sum(e.label == 1 for e in index.entries)
    test = sum(e.part == "test" for e in index.entries)
    return f"{len(index.entries)} entries, {labelled} of them labelled anomalous, {test} in the test part, {len(index.problems)} unusable"


def of_part(index: Index, part: str | None) -> Index:
    """The entries of one part, or all. Raises MedoodError when there are none."""
    if part is None:
        return index
    chosen = tuple(e for e in index.entries if e.part == part)
    if not chosen:
        known = ", ".join(sorted({e.part for e in index.entries if e.part})) or "no parts at all"
        raise MedoodError(f"{index.root}: no image is in the part {part!r}; found {known}.")
    return Index(index.root, chosen, index.problems)
