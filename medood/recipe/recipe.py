"""Recipes and transforms files: literals, checked against what exists, all mistakes at once.

A recipe names a source, a transforms file, a detector and how to train it. Resolving a recipe puts the content of its transforms file
into it and every default beside what was given, so that the run that keeps it is complete by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medood.core.errors import RecipeError
from medood.core.types import Fraction, NonNegativeFloat, NonNegativeInt, Percent, PositiveFloat, PositiveInt
from medood.recipe import catalogue
from medood.recipe.changes import apply_changes
from medood.recipe.check import check, nearest
from medood.recipe.choices import below, checked_steps, named
from medood.recipe.contrast import both_sources, checked_contrast
from medood.recipe.literals import Places, place_of, read_literals
from medood.recipe.members import with_features
from medood.recipe.numbers import for_numbers, wrong_for_numbers

_PACKAGE = Path(__file__).parent.parent


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Preparation(_Section):
    """How a decoded volume becomes images of one size and range.

    summary         one line about the file, for you; it changes nothing
    plane           which way volumes are cut; "native" keeps the slices as they were acquired
    channels        1 for grey images, 3 for colour; the steps `to_grey` and `to_rgb` change one into the other. Of a table of numbers as
                    many as it has columns
    size            (height, width) of the images; one number for both
    field_of_view   (height, width) in mm that the image shows, or one number for both, cut or padded around the centre, so that a
                    millimetre is as many pixels on every scanner; null: the whole image
    fit             how the whole image becomes `size`: "pad" keeps the proportions and fills with the background, "stretch" does not,
                    "crop" cuts the longer side
    range           promised lowest and highest value
    background      value outside the body; null for pictures without an outside
    min_foreground  slices with less body than this share of the volume's fullest slice are skipped
    steps           intensity steps in order, each `{name: {parameters}}`
    """

    summary: str = ""
    plane: Literal["axial", "coronal", "sagittal", "native"] = "native"
    channels: PositiveInt = 1
    size: tuple[PositiveInt, PositiveInt] = (256, 256)
    field_of_view: tuple[PositiveFloat, PositiveFloat] | None = None
    fit: Literal["pad", "stretch", "crop"] = "pad"
    range: tuple[float, float] = (0.0, 1.0)
    background: float | None = None
    min_foreground: Fraction = 0.0
    steps: list[str | dict[str, Any]] = []


class Split(_Section):
    """Which patients are held out. A source that says train and val itself (a table with a `part` column) overrides this.

    held_out  share of the patients whose normal images choose the epoch and set the thresholds; none of them is trained on
    test      share of the patients set aside for a test, besides those that the source calls test; with it, patients who have anomalous
              images too are set aside as a whole
    seed      of the draw: the same seed holds out the same patients
    """

    held_out: Fraction = 0.2
    test: Fraction = 0.0
    seed: NonNegativeInt = 0


class Training(_Section):
    """How the trainer runs the phases of a detector.

    batch_size      images that are learned from at once; the last batch of an epoch holds what is left
    epochs          in place of the detector's own: one number, or one per phase by name; null: the detector's own. The only key that may
                    change when a training is resumed
    precision       of the networks' arithmetic: "bfloat16" is faster on a GPU and rounds more; weights stay float32
    schedule        of the learning rate over each phase: "cosine" and "linear" fall to 0, "step" divides it by ten at every milestone
    milestones      for "step": shares of a phase's epochs, rounded to whole epochs; one list, or one per phase by name
    warmup_epochs   epochs at the start of each phase over which the learning rate rises to its full value
    clip_norm       longest gradient that is followed, longer ones are shortened to it, which calms a training that diverges; null: any
    patience        a phase ends after so many validations in a row without a better epoch; null: never before its last epoch
    validate_every  the held-out images are looked at after every so many epochs, and after the last
    channels_last   keep the channels of a pixel side by side in memory, which most processors and GPUs compute faster with
    tensorboard     write the losses for TensorBoard too, besides history.jsonl
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


class Pretraining(_Section):
    """How `medood pretrain` teaches the network of `features` on the training images, without labels, before a detector is trained.

    SimSiam: views of an image, parts of it with other contrast and brightness, are to give the same features.

    epochs         passes over the images; the last one counts
    batch_size     images that are learned from at once; batches of 32 or more are calmer
    learning_rate  for 256 images at once, in proportion for fewer; it falls to 0 along a cosine
    weight_decay   of all weights
    smallest_crop  least share of an image's sides that a view shows
    flip           whether views may be mirrored left to right
    shrink_to      [height, width] to which images are reduced before a network sees them enlarged: so it gets used to small images of other
                   sources, as 32 x 32 pixels; null: they stay as they are
    """

    epochs: PositiveInt = 100
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 0.05
    weight_decay: NonNegativeFloat = 1e-4
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.4
    flip: bool = True
    shrink_to: tuple[PositiveInt, PositiveInt] | None = None


class CalibrationPlan(_Section):
    """How often a normal image may look anomalous. The held-out normal images set the thresholds.

    false_alarm_rate    share of normal images that may be called anomalous
    coloured_pixels     share of a normal image's pixels that may be coloured in its map
    false_refusal_rate  share of normal images that the gate may call out of domain, as if they were of another kind
    """

    false_alarm_rate: Fraction = 0.05
    false_refusal_rate: Fraction = 0.01
    coloured_pixels: Fraction = 0.01


class Pooling(_Section):
    """From a detector's map to the score of an image: the same in calibration and in scoring, and what the written maps show.

    side            of a reconstruction's residual that counts: "higher" where the image is brighter than its reconstruction
    median_mm       side of a median filter within the slice; 0: none
    smooth_mm       standard deviation of a Gaussian inside the body; 0: none. Of several, as `[1.0, 4.0]`, the mean: large lesions gain
                    from their surroundings, and borders stay. Where millimetres are unknown, a pixel of the images is one
    through_slices  smooth through the slices of a volume too, where they are neighbours in space
    erode_mm        the rim of the body that does not count
    rim             "hidden": written maps leave it out too, as if it lay outside the body, such as a bright scalp
    reduction       "detector" keeps the detector's own image score; "mean", "percentile" of the map inside the body; "top_mm2": mean of its
                    hottest area; "largest_component": how much the largest part above the normal images' `percentile` lies above it
    percentile      see `reduction`; 100 is the maximum
    top_mm2         see `reduction`
    series          "top_slices": see `scoring.top_slices`; "top_mm3": mean of the hottest volume of all slices' maps
    top_mm3         see `series`
    """

    side: Literal["both", "higher", "lower"] = "both"
    median_mm: NonNegativeFloat = 0.0
    smooth_mm: NonNegativeFloat | tuple[PositiveFloat, ...] = 0.0
    through_slices: bool = True
    erode_mm: NonNegativeFloat = 0.0
    rim: Literal["shown", "hidden"] = "shown"
    reduction: Literal["detector", "mean", "percentile", "top_mm2", "largest_component"] = "detector"
    percentile: Percent = 98.0
    top_mm2: PositiveFloat = 200.0
    series: Literal["top_slices", "top_mm3"] = "top_slices"
    top_mm3: PositiveFloat = 1000.0

    @property
    def gaussians_mm(self) -> tuple[float, ...]:
        """The standard deviations of `smooth_mm`, none where nothing is smoothed."""
        return self.smooth_mm if isinstance(self.smooth_mm, tuple) else (self.smooth_mm,) if self.smooth_mm else ()


class OcclusionPlan(_Section):
    """A map for a detector that has none: by how much its score falls when squares of the image are hidden one after the other.

    side     of the squares, in pixels; null: an eighth of the image's shorter side. They should cover what is looked for
    stride   from one square to the next, in pixels; null: half a side. Half of it takes four times as long
    at_once  squares that are scored together; less needs less memory, and the maps are the same
    """

    side: PositiveInt | None = None
    stride: PositiveInt | None = None
    at_once: PositiveInt = 32


class Scoring(_Section):
    """How images are scored.

    batch_size  images that are scored at once; less needs less memory, and the scores are the same
    precision   of the networks' arithmetic in scoring and in calibration: "bfloat16" takes half the time where the processor has it, and
                rounds to three digits. f_anogan and patch_gan can
    top_slices  a series score is the mean of so many of its highest slice scores
    """

    batch_size: PositiveInt = 16
    precision: Literal["float32", "bfloat16"] = "float32"
    top_slices: PositiveInt = 3


class Recipe(_Section):
    """One experiment, resolved. `source`, `detector`, `features` and each step hold the name of a card in the catalogue and its parameters.

    summary      one line about the recipe, for you; it changes nothing
    source       where the images come from: `{name: folder, root: my/images}`; `medood sources` lists what there is
    transforms   the transforms file that turns volumes into images: its name, its path, or `{name: ...}` with keys of it to replace
    augment      steps that change every training image afresh, each `{name: {parameters}}`; `medood steps` lists them
    detector     what is trained: `{name: autoencoder}` with its parameters; `medood detectors` lists what there is
    contrast     what a detector learns to tell normal images from, for one that needs it: another source of images that nobody has to
                 label, `{name: folder, root: ...}`, perhaps with `transforms` of its own, shown at this recipe's size, and perhaps
                 `mixed_with` a second one, `{share: 0.2, name: ...}`, of which so large a share of the images is; "synthetic", anomalies
                 pasted into the training images; or "product_of_marginals", features of which each comes from another image.
                 Images labelled anomalous and those of the part test are left out. Normal images among the contrast do no harm as long as
                 they are not most of it: what is learned is in how far the normal images outnumber the contrast
    features     what the detector works on, for one that works on features: `{name: efficientnet_lite0, weights: imagenet}` by default;
                 for `error: perceptual` of a detector that reconstructs, what it compares; for an ensemble, what those of its members
                 work on that need features and name none of their own
    split        which patients are held out; its keys are below, like those of the next six
    training     how the detector is trained
    calibration  how often a normal image may be called anomalous
    pooling      how a map becomes the score of an image
    occlusion    a map for a detector that has none, `{}` with the defaults; null: none. Every image is then scored some hundred times
    scoring      how images are scored
    pretraining  how `medood pretrain` teaches the network of the features; training does not look at it
    seed         of everything random in training: the same seed gives the same run, to the last bit on the same machine with as many
                 threads
    """

    summary: str = ""
    source: dict[str, Any]
    transforms: Preparation
    augment: list[str | dict[str, Any]] = []
    detector: dict[str, Any]
    contrast: Literal["synthetic", "product_of_marginals"] | dict[str, Any] | None = None
    features: dict[str, Any] | None = None
    split: Split = Field(default_factory=Split)
    training: Training = Field(default_factory=Training)
    calibration: CalibrationPlan = Field(default_factory=CalibrationPlan)
    pooling: Pooling = Field(default_factory=Pooling)
    occlusion: OcclusionPlan | None = None
    scoring: Scoring = Field(default_factory=Scoring)
    pretraining: Pretraining = Field(default_factory=Pretraining)
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
    values, places = read_literals(path)
    problems = apply_changes(values, places, changes, known_keys)
    return resolve(values, places, str(path), problems)


def known_keys(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """What each section of a recipe may hold, by its name; "" has the sections and single values. No section of an unknown card."""
    sections: dict[str, Any] = {
        "split": Split,
        "training": Training,
        "calibration": CalibrationPlan,
        "pooling": Pooling,
        "occlusion": OcclusionPlan,
        "scoring": Scoring,
        "pretraining": Pretraining,
    }
    found = {"": list(Recipe.model_fields), "transforms": ["name", *Preparation.model_fields]}
    found |= {name: list(section.model_fields) for name, section in sections.items()}
    named = (
        ("source", catalogue.sources(), ["name", "root"]),
        ("contrast", catalogue.sources(), ["name", "root", "transforms", "mixed_with"]),
        ("detector", catalogue.detectors(), ["name"]),
        ("features", catalogue.features(), ["name"]),
    )
    for section, cards, more in named:
        chosen = values.get(section)
        name = chosen.get("name") if isinstance(chosen, Mapping) else None
        if isinstance(name, str) and name in cards:
            found[section] = [*more, *cards[name].parameters.model_fields]
    return found


def changed_keys(before: Recipe, now: Recipe) -> list[str]:
    """Keys of two recipes that train differently. Summaries do not matter, nor where the images lie, nor a checksum that one of them does
    not know. The members that come from runs follow from these."""

    def matters(recipe: Recipe) -> dict[str, Any]:
        values = recipe.model_dump(mode="json", exclude={"summary": True, "pretraining": True, "transforms": {"summary"}})
        detector = {key: value for key, value in values["detector"].items() if key != "members" or not values["detector"].get("runs")}
        for source in (values["source"], *both_sources(values["contrast"])):
            source.pop("root", None)
        return {**values, "detector": detector}

    old, new = matters(before), matters(now)
    for one, other in zip(_all_features(old), _all_features(new), strict=False):  # fewer members are a change anyway
        if one and other:
            sums = [features.pop("sha256", None) for features in (one, other)]
            if all(sums):  # the same file may lie elsewhere
                one["weights"], other["weights"] = sums
    for one, other in zip(_all_detectors(old), _all_detectors(new), strict=False):
        sums = [detector.pop("sha256", None) for detector in (one, other)]
        if all(sums):
            one["classifier"], other["classifier"] = sums
    return [key for key in new if old[key] != new[key]]


def _all_detectors(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The detector and each of its members."""
    return [values["detector"], *values["detector"].get("members", [])]


def _all_features(values: Mapping[str, Any]) -> list[dict[str, Any] | None]:
    """Those of the detector and of each of its members."""
    return [values["features"], *(member.get("features") for member in values["detector"].get("members", []))]


def resolve(values: Mapping[str, Any], places: Places, where: str, problems: Sequence[str] = ()) -> Recipe:
    """The recipe with every default beside what was given. Raises RecipeError with every mistake, and with the `problems` found before."""
    problems, values = list(problems), for_numbers(dict(values))
    values["transforms"] = _transforms(values.get("transforms"), places, where, problems)
    problems += wrong_for_numbers(values, lambda key: f"{place_of((key,), places, where)}: {key}")
    recipe = check(Recipe, values, places, where, problems, skip="transforms")
    for section in ("source", "detector"):
        cards = catalogue.sources() if section == "source" else catalogue.detectors()
        if isinstance(values.get(section), dict):
            values[section] = named(section, values[section], cards, places, where, problems)
    values["detector"], values["features"] = with_features(values, places, where, problems)
    given = values.get("contrast")
    own = given.get("transforms") if isinstance(given, Mapping) else None
    plan = None if own is None else _transforms(own, places, where, problems, ("contrast", "transforms"))
    values["contrast"] = checked_contrast(values, plan, places, where, problems)
    values["augment"] = checked_steps(("augment",), values.get("augment", []), places, where, problems)
    if problems:
        raise RecipeError(problems)
    assert recipe is not None
    return recipe.model_copy(update={k: values[k] for k in ("source", "detector", "contrast", "features", "augment", "transforms")})


def load_preparation(name: str | Path, changes: Sequence[str] = ()) -> Preparation:
    """Read and check a transforms file by file name or by its name alone; `changes` as for a recipe, of the file's own keys."""
    content: dict[str, Any] = {"name": str(name)}
    places: Places = {}
    problems = apply_changes(content, places, changes, lambda _: {"": list(Preparation.model_fields)})
    at_home: Places = {("transforms", *path): place for path, place in places.items()}
    preparation = _transforms(content, at_home, str(name), problems)
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


def _transforms(given: Any, places: Places, where: str, problems: list[str], path: tuple[str, ...] = ("transforms",)) -> Any:
    """The Preparation that a recipe's `transforms` names, with the recipe's own changes to it; `path` is where in the recipe."""
    at = f"{place_of(path, places, where)}: {'.'.join(path)}"
    changes = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = changes.pop("name", None)
    if not isinstance(name, str):
        if {"steps", "summary"} <= changes.keys():  # a resolved recipe brings the whole content
            content, origin, content_places = changes, where, below(places, path)
        else:
            problems.append(f"{at}: expected the name of a transforms file or a mapping with its `name`, found {given!r}.")
            return None
    else:
        try:
            file = find_file(name, "transforms", beside=Path(where).parent)
            content, content_places = read_literals(file)
        except RecipeError as error:
            problems.extend(f"{at}: {problem}" for problem in error.problems)
            return None
        content, origin = content | changes, str(file)
        for key in changes:  # those of the recipe stand in the recipe
            content_places = {at: place for at, place in content_places.items() if at[:1] != (key,)}
        content_places |= {at: f"{place}: {'.'.join(path)}" for at, place in below(places, path).items() if at}
    content = {key: _both_sides(key, value) for key, value in content.items()}
    preparation = check(Preparation, content, content_places, origin, problems)
    steps = checked_steps(("steps",), content.get("steps", []), content_places, origin, problems)
    return preparation.model_copy(update={"steps": steps}) if preparation else None


def _both_sides(key: str, value: Any) -> Any:
    """One number for a size stands for height and width."""
    return [value, value] if key in ("size", "field_of_view") and type(value) in (int, float) else value


def check_source(values: Any, places: Places, where: str, path: tuple[Any, ...], problems: list[str]) -> dict[str, Any]:
    """A source with its defaults filled in; what is wrong with it is appended to `problems`."""
    if isinstance(values, dict):
        return named(".".join(map(str, path)), values, catalogue.sources(), places, where, problems, path)
    problems.append(f"{place_of(path, places, where)}: {'.'.join(map(str, path))}: expected a mapping with a `name`, found {values!r}.")
    return {}


def check_steps(steps: Sequence[Any], where: str) -> list[dict[str, Any]]:
    """Steps with their defaults filled in, from outside a file. Raises RecipeError with every mistake; `where` names the place."""
    problems: list[str] = []
    resolved = checked_steps(("augment",), list(steps), {}, where, problems)
    if problems:
        raise RecipeError(problems)
    return resolved
