"""Recipes and transforms files: literals, checked against what exists, all mistakes at once.

A recipe names a source, a transforms file, a detector and how to train it. Resolving a recipe puts the content of its transforms file
into it and every default beside what was given, so that the run that keeps it is complete by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medood.core import catalogue
from medood.core.check import check, nearest
from medood.core.errors import RecipeError
from medood.core.literals import Lines, parse_value, read_literals
from medood.core.types import Fraction, NonNegativeInt, PositiveFloat, PositiveInt

_PACKAGE = Path(__file__).parent.parent

DEFAULT_FEATURES = "efficientnet_lite0"
"""What a detector works on that needs features, in a recipe that names none."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Preparation(_Section):
    """A transforms file: how a decoded volume becomes images of one size and range.

    plane           which way volumes are cut; "native" keeps the slices as they were acquired
    size            (height, width) of the images
    field_of_view   (height, width) in mm that the image shows, cut or padded around the centre, so that a millimetre is as many pixels on
                    every scanner; None: the whole image
    fit             how the whole image becomes `size`: "pad" keeps the proportions and fills with the background, "stretch" does not,
                    "crop" cuts the longer side
    range           promised lowest and highest value
    background      value outside the body, None for pictures without an outside
    min_foreground  slices with less body than this share of the volume's fullest slice are skipped
    steps           intensity steps in order, each `{name: {parameters}}`
    """

    summary: str = ""
    plane: Literal["axial", "coronal", "sagittal", "native"] = "native"
    channels: Literal[1, 3] = 1
    size: tuple[PositiveInt, PositiveInt] = (256, 256)
    field_of_view: tuple[PositiveFloat, PositiveFloat] | None = None
    fit: Literal["pad", "stretch", "crop"] = "pad"
    range: tuple[float, float] = (0.0, 1.0)
    background: float | None = None
    min_foreground: Fraction = 0.0
    steps: list[str | dict[str, Any]] = []


class Split(_Section):
    """Which patients are held out. A source that says train and val itself (a table with a `part` column) overrides this.

    held_out  share of the patients whose normal images choose the epoch and set the thresholds
    test      share of the patients set aside for a test, besides those that the source calls test; with it, patients who have anomalous
              images too are set aside as a whole
    """

    held_out: Fraction = 0.2
    test: Fraction = 0.0
    seed: NonNegativeInt = 0


class Training(_Section):
    """How the trainer runs the phases of a detector. `epochs` replaces the detector's own: one number, or one per phase by name.

    schedule    of the learning rate over each phase: "cosine" and "linear" fall to 0, "step" divides it by ten at every milestone
    milestones  for "step": shares of a phase's epochs, rounded to whole epochs; one list, or one per phase by name
    """

    batch_size: PositiveInt = 16
    epochs: PositiveInt | dict[str, PositiveInt] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    schedule: Literal["constant", "cosine", "linear", "step"] = "constant"
    milestones: tuple[Fraction, ...] | dict[str, tuple[Fraction, ...]] = (0.67, 0.9)
    warmup_epochs: NonNegativeInt = 0
    clip_norm: PositiveFloat | None = None
    patience: PositiveInt | None = None
    validate_every: PositiveInt = 1
    channels_last: bool = True
    tensorboard: bool = True


class CalibrationPlan(_Section):
    """Share of normal images that may be called anomalous, and share of a normal image's pixels that may be coloured."""

    false_alarm_rate: Fraction = 0.05
    coloured_pixels: Fraction = 0.01


class Scoring(_Section):
    """How images are scored. A series score is the mean of its `top_slices` highest slice scores."""

    batch_size: PositiveInt = 16
    top_slices: PositiveInt = 3


class Recipe(_Section):
    """One experiment, resolved. `source`, `detector`, `features` and each step hold the name of a card in the catalogue and its parameters.

    features  what the detector works on, for one that works on features: `{name: efficientnet_lite0, weights: imagenet}` by default
    """

    summary: str = ""
    source: dict[str, Any]
    transforms: Preparation
    augment: list[str | dict[str, Any]] = []
    detector: dict[str, Any]
    features: dict[str, Any] | None = None
    split: Split = Field(default_factory=Split)
    training: Training = Field(default_factory=Training)
    calibration: CalibrationPlan = Field(default_factory=CalibrationPlan)
    scoring: Scoring = Field(default_factory=Scoring)
    seed: NonNegativeInt = 0

    def choice(self, section: Literal["source", "detector", "features"]) -> tuple[str, dict[str, Any]]:
        """Name and parameters of the source, the detector or its features."""
        values = dict(getattr(self, section))
        return values.pop("name"), values


def load_recipe(name: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read, check and resolve a recipe by file name or by its name alone (`brats_patchgan`).

    `changes` are "key.key=value" strings that replace single values. Raises RecipeError with every mistake found.
    """
    path = find_file(name, "recipes")
    values, lines = read_literals(path)
    for change in changes:
        apply_change(values, change)
    return resolve(values, lines, str(path))


def changed_keys(before: Recipe, now: Recipe) -> list[str]:
    """Keys of two recipes that train differently. Summaries do not matter, nor where the images lie, nor a checksum that one of them does
    not know."""

    def matters(recipe: Recipe) -> dict[str, Any]:
        values = recipe.model_dump(mode="json", exclude={"summary": True, "transforms": {"summary"}})
        return {**values, "source": {key: value for key, value in values["source"].items() if key != "root"}}

    old, new = matters(before), matters(now)
    if old["features"] and new["features"]:
        sums = [values["features"].pop("sha256", None) for values in (old, new)]
        if all(sums):  # the same file may lie elsewhere
            old["features"]["weights"], new["features"]["weights"] = sums
    return [key for key in new if old[key] != new[key]]


def resolve(values: Mapping[str, Any], lines: Lines, where: str) -> Recipe:
    problems: list[str] = []
    values = dict(values)
    values["transforms"] = _transforms(values.get("transforms"), lines, where, problems)
    recipe = check(Recipe, values, lines, where, problems, skip="transforms")
    for section in ("source", "detector"):
        cards = catalogue.sources() if section == "source" else catalogue.detectors()
        if isinstance(values.get(section), dict):
            values[section] = _named(section, values[section], cards, lines, where, problems)
    values["features"] = _features(values, lines, where, problems)
    values["augment"] = _steps(("augment",), values.get("augment", []), lines, where, problems)
    if problems:
        raise RecipeError(problems)
    assert recipe is not None
    return recipe.model_copy(update={k: values[k] for k in ("source", "detector", "features", "augment", "transforms")})


def load_preparation(name: str | Path) -> Preparation:
    """Read and check a transforms file by file name or by its name alone."""
    problems: list[str] = []
    preparation = _transforms(str(name), {}, str(name), problems)
    if problems:
        raise RecipeError(problems)
    return preparation


def find_file(name: str | Path, folder: str, beside: Path | None = None) -> Path:
    """A YAML file by path, also relative to the folder `beside`, or by its bare name among those that come with medood."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        for place in (path, *([beside / path] if beside else [])):
            if place.is_file():
                return place
        raise RecipeError([f"{path}: there is no such file."])
    known = {place.stem: place for place in shipped(folder)}
    if str(name) in known:
        return known[str(name)]
    near = nearest(str(name), known) or "."
    raise RecipeError([f"{name}: not one of the {folder} that come with medood ({', '.join(known)}), and not a .yaml file{near}"])


def shipped(folder: str) -> list[Path]:
    """The YAML files that come with medood. The checkout wins over the installed copy, which an editable install leaves stale."""
    beside, inside = _PACKAGE.parent / folder, _PACKAGE / folder
    checkout = (_PACKAGE.parent / "pyproject.toml").is_file() and beside.is_dir()
    return sorted((beside if checkout else inside).glob("*.yaml"))


def _transforms(given: Any, lines: Lines, where: str, problems: list[str]) -> Any:
    """The Preparation that a recipe's `transforms` names, with the recipe's own changes to it."""
    at = f"{where}:{lines.get(('transforms',), 1)}: transforms"
    changes = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = changes.pop("name", None)
    if not isinstance(name, str):
        if {"steps", "summary"} <= changes.keys():  # a resolved recipe brings the whole content
            content, origin, content_lines = changes, where, {k[1:]: v for k, v in lines.items() if k[:1] == ("transforms",)}
        else:
            problems.append(f"{at}: expected the name of a transforms file or a mapping with its `name`, found {given!r}.")
            return None
    else:
        try:
            path = find_file(name, "transforms", beside=Path(where).parent)
            content, content_lines = read_literals(path)
        except RecipeError as error:
            problems.extend(f"{at}: {problem}" for problem in error.problems)
            return None
        content, origin = content | changes, str(path)
    preparation = check(Preparation, content, content_lines, origin, problems)
    steps = _steps(("steps",), content.get("steps", []), content_lines, origin, problems)
    return preparation.model_copy(update={"steps": steps}) if preparation else None


def _features(values: Mapping[str, Any], lines: Lines, where: str, problems: list[str]) -> dict[str, Any] | None:
    """The features of a recipe with their defaults filled in, if its detector works on features."""
    given, detector = values.get("features"), values.get("detector")
    name = detector.get("name") if isinstance(detector, dict) else None
    card = catalogue.detectors().get(name) if isinstance(name, str) else None
    if not isinstance(given, dict | None) or card is None:
        return None  # reported elsewhere
    if card.takes_features:
        return _named("features", {"name": DEFAULT_FEATURES} | (given or {}), catalogue.features(), lines, where, problems)
    if given is not None:
        takers = ", ".join(name for name, other in catalogue.detectors().items() if other.takes_features)
        line = lines.get(("features",), 1)
        problems.append(f"{where}:{line}: features: {card.name} works on none; leave them out, or take one of the detectors {takers}.")
    return None


def _steps(path: tuple[str, ...], given: Any, lines: Lines, where: str, problems: list[str]) -> list[dict[str, Any]]:
    """Each `{name: {parameters}}` with its defaults filled in."""
    resolved: list[dict[str, Any]] = []
    for i, step in enumerate(given if isinstance(given, list) else []):
        if isinstance(step, str):
            step = {step: {}}
        if not isinstance(step, dict) or len(step) != 1:
            line = lines.get((*path, i), 1)
            problems.append(f"{where}:{line}: {path[0]}.{i}: expected one `name: {{parameters}}`, found {step!r}.")
            continue
        ((name, parameters),) = step.items()
        if not isinstance(parameters or {}, dict) or not isinstance(name, str):
            line = lines.get((*path, i), 1)
            problems.append(f"{where}:{line}: {path[0]}.{i}: expected `{name}: {{parameters}}`, found {parameters!r}.")
            continue
        flat = {"name": name} | (parameters or {})
        filled = _named(f"{path[0]}.{i}", flat, catalogue.steps(), lines, where, problems, (*path, i, name))
        resolved.append({name: {k: v for k, v in filled.items() if k != "name"}})
    return resolved


def _named(
    section: str,
    values: Mapping[str, Any],
    cards: Mapping[str, catalogue.Card],
    lines: Lines,
    where: str,
    problems: list[str],
    path: tuple[Any, ...] | None = None,
) -> dict[str, Any]:
    """A card's parameters with its defaults filled in; a source's `root` is checked when it is opened."""
    path = path or (section,)
    name = values.get("name")
    if not isinstance(name, str) or name not in cards:
        what = f"{where}:{lines.get((*path, 'name'), lines.get(path, 1))}: {section}.name"
        problems.append(f"{what}: found {name!r}, expected one of {', '.join(cards)}{nearest(str(name), cards) or '.'}")
        return dict(values)
    root = {"root": values["root"]} if cards is catalogue.sources() and "root" in values else {}
    if not isinstance(root.get("root", ""), str):
        line = lines.get((*path, "root"), 1)
        problems.append(f"{where}:{line}: {section}.root: found {root['root']!r}, expected the path of a folder as text.")
    given = {k: v for k, v in values.items() if k not in ("name", *root)}
    here = {k[len(path) :]: v for k, v in lines.items() if k[: len(path)] == path}
    here.setdefault((), lines.get(path, 1))
    model = check(cards[name].parameters, given, here, where, problems, prefix=section)
    return {"name": name, **root, **(model.model_dump(mode="json") if model else given)}


def check_source(values: Any, lines: Lines, where: str, path: tuple[Any, ...], problems: list[str]) -> dict[str, Any]:
    """A source with its defaults filled in; what is wrong with it is appended to `problems`."""
    if isinstance(values, dict):
        return _named(".".join(map(str, path)), values, catalogue.sources(), lines, where, problems, path)
    problems.append(f"{where}:{lines.get(path, 1)}: {'.'.join(map(str, path))}: expected a mapping with a `name`, found {values!r}.")
    return {}


def apply_change(values: dict[str, Any], change: str) -> None:
    """Set one value by its dotted key: "key.key=value". Raises RecipeError."""
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise RecipeError([f"--set {change}: expected key=value, such as training.epochs=5."])
    *parents, last = key.strip().split(".")
    place = values
    for parent in parents:
        if isinstance(place.get(parent), str) and parent == "transforms":
            place[parent] = {"name": place[parent]}
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise RecipeError([f"--set {change}: {parent} is a single value and has no keys."])
    place[last] = parse_value(text)
