"""What a recipe may say: an experiment as literals, section by section.

A recipe names a source, a transforms file, a detector and how to train it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from medood.core.types import FiniteFloat, Fit, Fraction, NonNegativeFloat, NonNegativeInt, Percent, PositiveFloat, PositiveInt


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if not ends[0] < ends[1]:
        raise PydanticCustomError("rising", "two finite numbers, the lower one first")
    return ends


_Range = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_rising)]
# Longer than any body; far longer ones make a Gaussian or a median larger than memory.
_Length = Annotated[float, Field(ge=0, le=1000)]
_PositiveLength = Annotated[float, Field(gt=0, le=1000)]


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
                    "crop" cuts the longer side; "keep" leaves the pixels as they are and pads or cuts around the centre, for images that
                    are small already
    range           promised lowest and highest value, two finite numbers
    background      value outside the body; null for pictures without an outside
    min_foreground  slices with less body than this share of the volume's fullest slice are skipped
    steps           intensity steps in order, each `{name: {parameters}}`
    """

    summary: str = ""
    plane: Literal["axial", "coronal", "sagittal", "native"] = "native"
    channels: PositiveInt = 1
    size: tuple[PositiveInt, PositiveInt] = (256, 256)
    field_of_view: tuple[PositiveFloat, PositiveFloat] | None = None
    fit: Fit = "pad"
    range: _Range = (0.0, 1.0)
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
    precision       of the networks' arithmetic while they learn: "bfloat16" is faster on a GPU and rounds more; weights stay float32. With
                    "float32" NVIDIA's GPUs still round what convolutions multiply to ten bits, unless torch is told not to
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
    learning_rate  for 256 images at once, in proportion for fewer; it falls to 0 along a cosine. SimSiam's own, 0.05, is for the 250,000
                   steps of ImageNet: in the hundreds of steps of a small set nothing is learned by it
    weight_decay   of all weights
    smallest_crop  least share of an image's sides that a view shows
    flip           whether views may be mirrored left to right
    shrink_to      [height, width] to which images are reduced before a network sees them enlarged: so it gets used to small images of other
                   sources, as 32 x 32 pixels; null: they stay as they are
    """

    epochs: PositiveInt = 100
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 1.0
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

    Lengths are at most 1,000 mm, areas and volumes those of a square and a cube with that side.

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
    median_mm: _Length = 0.0
    smooth_mm: _Length | tuple[_PositiveLength, ...] = 0.0
    through_slices: bool = True
    erode_mm: _Length = 0.0
    rim: Literal["shown", "hidden"] = "shown"
    reduction: Literal["detector", "mean", "percentile", "top_mm2", "largest_component"] = "detector"
    percentile: Percent = 98.0
    top_mm2: Annotated[float, Field(gt=0, le=1000**2)] = 200.0
    series: Literal["top_slices", "top_mm3"] = "top_slices"
    top_mm3: Annotated[float, Field(gt=0, le=1000**3)] = 1000.0

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
    precision   of the networks' arithmetic in scoring and in calibration: "float32" is that on every device; "bfloat16" takes half the
                time or less where the processor has it, and rounds to three digits. `medood detectors NAME` says whether a detector can
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
