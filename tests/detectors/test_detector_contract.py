"""What every detector of the catalogue must do. A new detector is tested as it is by default; an entry in CASES makes it quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from detector_trials import LESIONS, Training, build, pasted, phantoms, plant
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from medood.core.detector import Detector, ImageSpec, Scores
from medood.core.errors import MedoodError
from medood.detectors.occlusion import Occlusion
from medood.features.interface import Extractor
from medood.recipe.building import detector_of
from medood.recipe.catalogue import detectors
from medood.transforms.mask_boxes import MaskBoxes


@dataclass(frozen=True)
class Case:
    """A detector with hyperparameters that make it small, and how it is trained on phantoms.

    features   what the detector works on, if it works on features
    members    the detectors that it is made of, as in a recipe
    tile       hide boxes in each tile of this side
    spec       None: values 0..1 with background 0, or -1..1 with background -1 if the detector wants those
    lesion     radius of the planted lesions, in sides of the image
    auroc      least AUROC of the image score over phantoms with and without planted lesions, after this training
    hot        least AUROC of the map's pixels inside the body, lesion against the rest
    occluded   the same of a map by occlusion, for a detector without one; None for a detector that sees no small things
    side       of the phantoms, in pixels
    rounding   how far apart scores of an image may lie that are computed in other batches, as a share of how far those of images do
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] | None = None
    epochs: int = 4
    images: int = 96
    tile: int | None = None
    spec: ImageSpec | None = None
    lesion: float = 0.1
    auroc: float = 0.8
    hot: float = 0.7
    occluded: float | None = 0.6
    side: int = 64
    rounding: float = 1e-3
    members: tuple[dict[str, Any], ...] = ()

    def __str__(self) -> str:
        words = [*self.parameters.values(), *(self.features or {}).values()]
        return "-".join([self.name, *(word for word in words if isinstance(word, str))])


SMALL_GAN = {"width": 8, "discriminator_width": 8, "learning_rate": 2e-3, "reconstruction_weight": 2.0}
SMALL_SPHERE = {"width": 4, "code": 32, "learning_rate": 1e-3}
SMALL_MIXTURE = {"width": 8, "learning_rate": 3e-3, "energy_weight": 0.1, "spread_weight": 0.005}
SMALL_JUDGE = {"refiner_width": 8, "discriminator_width": 16, "refiner_updates": 1, "learning_rate": 3e-4}
SMALL_CODER = {"width": 8, "code": 300, "learning_rate": 5e-4, "epochs": 30}
SMALL_DRAWER = {"width": 4, "latent": 16, "critic_steps": 1, "kappa": 0.01, "learning_rate": 2e-3, "encoder_learning_rate": 5e-3}
SMALL_BLIND_SPOT = {"width": 4, "latent": 16, "warmup": 20, "learning_rate": 5e-3, "side": "both", "score": "peak"}
SMALL_CASCADE = {"width": 8, "latent": 16, "branch_width": 16, "learning_rate": 5e-3}
SMALL_CONTRAST = {"width": 4, "shifts": "cutperm", "views": 3, "learning_rate": 0.01}
SMALL_TELLER = {"width": 1, "transforms": "shifts"}
HISTOGRAMS = {"name": "gradient_histograms", "size": (48, 48), "layers": (8, 12)}
GREYS = {"name": "grey_statistics", "size": (64, 64)}
RANDOM_NETWORK = {"name": "efficientnet_lite0", "weights": "random", "size": (64, 64), "layers": (1, 2)}
MEMBERS = (
    {"name": "patch_core", "features": GREYS | {"layers": (16,)}, "bank": 0.1},
    {"name": "mahalanobis", "features": HISTOGRAMS},
)
SMALL_FLOW = {"components": 12, "blocks": 3, "width": 24, "learning_rate": 5e-3}
FEWER = {"blocks": 2, "width": 24, "learning_rate": 5e-3, "places": 16}
CASES = (
    # A search follows its own steps, and rounding grows from one to the next.
    Case(
        "adgan",
        {"width": 8, "latent": 32, "critic_steps": 1, "learning_rate": 2e-3, "starts": 3, "steps": 15},
        epochs=20,
        lesion=0.18,
        rounding=0.02,
    ),
    # Its score is what a discriminator says of images that it never saw: of all scores the one that another seed changes most.
    Case("alocc", SMALL_JUDGE, epochs=12, lesion=0.18, auroc=0.7),
    Case("autoencoder", {"width": 8, "learning_rate": 5e-3}, epochs=10),
    Case("blind_spot_vae", SMALL_BLIND_SPOT, epochs=12),
    Case("blind_spot_vae", SMALL_BLIND_SPOT | {"reduction": "sum", "ensemble": 2, "score": "dose"}, epochs=12),
    Case("autoencoder", {"architecture": "medianomaly", "error": "ssim", "width": 4, "learning_rate": 5e-3}, epochs=10),
    # A code knows more of the whole image than of a small thing in it, and a machine of wide kernels does not see the difference.
    Case("cae_one_class_svm", {"width": 16, "gamma": 0.5}, epochs=5, images=200, lesion=0.18),
    Case("classifier_guard", {"classes": 2, "width": 8, "score": "mahalanobis"}, epochs=8, lesion=0.18),
    # It tells kinds of images apart: what is planted fills the body, and a map by occlusion of small things is left to chance.
    Case("csi", SMALL_CONTRAST, epochs=40, images=64, side=32, lesion=0.45, occluded=None),
    Case("cvad", SMALL_CASCADE | {"learning_rate": 1e-2, "discriminator_epochs": 6}, epochs=20, lesion=0.14),
    Case("cvad", SMALL_CASCADE | {"branch_latent": "paper", "head": "paper", "combine": "logit_sum", "discriminator_epochs": 4}, epochs=14),
    Case("dae", {"width": 8, "learning_rate": 5e-3}, epochs=10),
    Case("dagmm", SMALL_MIXTURE, epochs=30, images=128, lesion=0.18, hot=0.6),
    Case("deep_svdd", SMALL_SPHERE, epochs=10),
    Case("deep_svdd", SMALL_SPHERE | {"objective": "soft_boundary", "warmup_epochs": 2}, epochs=10),
    Case("dsebm", {"width": 8, "learning_rate": 3e-3}, epochs=15, lesion=0.14),
    Case("dsebm", {"width": 8, "learning_rate": 3e-3, "units": "relu", "norm": "image", "score": "reconstruction"}, epochs=15, lesion=0.14),
    Case("ensemble", members=MEMBERS),
    Case("ensemble", {"join": "maximum"}, members=({"name": "intensity"}, {"name": "autoencoder", "width": 4, "learning_rate": 5e-3})),
    # After so little training the codes of an image and of its drawing may be equal but for rounding, and their distance nothing else.
    Case("f_anogan", SMALL_DRAWER, epochs=8, images=64, lesion=0.14, rounding=0.02),
    Case("ganomaly", SMALL_CODER, epochs=30, lesion=0.18),
    Case("ganomaly", SMALL_CODER | {"norm": "instance", "contextual_weight": 5.0, "code": 100}, epochs=30, lesion=0.18),
    Case("geo_trans", SMALL_TELLER | {"learning_rate": 5e-3}, epochs=8, images=64),
    # A few steps of what takes thousands: how well the transforms are told differs from seed to seed.
    Case("goad", SMALL_TELLER | {"learning_rate": 3e-3}, epochs=3, images=48, lesion=0.18, auroc=0.6, hot=0.6),
    Case("goad_affine", {"transforms": 8, "size": 32, "learning_rate": 3e-3}, HISTOGRAMS, epochs=15),
    Case("intensity"),
    Case("intensity", {"reference": "value"}),
    Case("one_class_svm", {"input": "image"}, images=300),
    # Of these images it sees four crops, so its map has four values.
    Case("one_class_svm", {"input": "crop32", "min_foreground": 0.75, "gamma": "auto", "variance": 1.0}, images=300, hot=0.6),
    Case("patch_gan", SMALL_GAN | {"reading": "image256", "learning_rate": 5e-3}, epochs=10),
    Case("contrastive_flow", SMALL_FLOW, HISTOGRAMS, epochs=12),
    Case("contrastive_flow", SMALL_FLOW | {"level": "location", "bound": "quantile", "places": 16}, RANDOM_NETWORK, epochs=8),
    Case("flow", SMALL_FLOW, HISTOGRAMS, epochs=20),
    Case("flow", {"level": "location", "components": 0, "coupling": "scaled_tanh"} | FEWER, GREYS, epochs=8),
    Case("flow_ratio", SMALL_FLOW, HISTOGRAMS, epochs=12),
    # Two flows fitted apart differ by chance where both saw little, so that a map of their ratio wants one that begins as the other.
    Case("flow_ratio", SMALL_FLOW | {"level": "location", "places": 16, "pool": "maximum", "from_contrast": True}, GREYS, epochs=6),
    Case("knn", {}, HISTOGRAMS),
    Case("knn", {"metric": "cosine", "level": "location", "most": 60}, RANDOM_NETWORK),
    Case("mahalanobis", {}, HISTOGRAMS),
    Case("mse", {}, HISTOGRAMS),
    Case("mse", {"sphere": True}, GREYS, occluded=0.5),  # a hidden square changes all grey values of the sphere
    Case("mse_ratio", {}, HISTOGRAMS),
    Case("outlier_exposure", SMALL_FLOW, HISTOGRAMS, epochs=12),
    Case("padim", {"channels": 16, "pool": "maximum"}, RANDOM_NETWORK),
    Case("padim", {"channels": 4, "reduce": "choice"}, GREYS),
    Case("patch_core", {"bank": 300, "candidates": 3000, "pool": "percentile"}, RANDOM_NETWORK),
    Case("patch_core", {"bank": 0.1}, GREYS),
    Case("patch_gan", SMALL_GAN | {"reading": "crop32"}, epochs=10, tile=32),
    Case("pch_vae", SMALL_CASCADE | {"sigma2": 0.01}, epochs=10),
    Case("pyod", {"method": "lof"}, images=200),
    Case("pyod", {"method": "kde"}, images=200),
    Case("pyod", {"method": "abod"}, images=200),
    Case("pyod", {"method": "mcd", "size": 16, "components": 32}, images=200),
    Case("pyod", {"method": "pca", "components": 0}, images=200),
    Case("pyod", {"method": "pca_error"}, images=200),
    Case("pyod", {"method": "pca_mahalanobis"}, images=200),
    Case("pyod", {"method": "lof"}, HISTOGRAMS, images=200),
    Case("rot_trans", SMALL_TELLER | {"depth": 10, "dropout": 0.0, "learning_rate": 0.02}, epochs=12, images=64, lesion=0.18, auroc=0.6),
    Case("synthetic", {"width": 8, "learning_rate": 5e-3}, epochs=12),
    Case("vae", {"width": 8, "learning_rate": 5e-3}, epochs=10),
    Case("vae", {"width": 8, "learning_rate": 5e-3, "sigma2": 0.01, "score": "combi"}, epochs=10),
)
ALL_CASES = (*CASES, *(Case(name) for name in detectors() if name not in {case.name for case in CASES}))


@dataclass(frozen=True)
class Trained:
    detector: Detector
    spec: ImageSpec
    reached: dict[str, set[str]]


def make(case: Case, spec: ImageSpec) -> Detector:
    section = {"name": case.name, "features": case.features, **case.parameters}
    if detectors()[case.name].takes_members:
        section["members"] = [{"label": f"{number}"} | member for number, member in enumerate(case.members or MEMBERS)]
    return build(partial(detector_of, section, spec))


def spec_of(case: Case, channels: int = 1, height: int | None = None, width: int | None = None) -> ImageSpec:
    """The first spec that the detector takes; raises the MedoodError of the last if it takes none."""
    height, width = height or case.side, width or case.side
    if case.spec is not None:
        return replace(case.spec, channels=channels, height=height, width=width)
    spec = ImageSpec(channels, height, width, 0.0, 1.0, background=0.0)
    try:
        make(case, spec)
    except MedoodError:
        spec = replace(spec, low=-1.0, background=-1.0)
        make(case, spec)
    return spec


def contrast_of(detector: Detector) -> Callable[[Tensor], Tensor] | None:
    return pasted(detector.spec) if detector.learns_from_contrast else None


def trained(case: Case, spec: ImageSpec, epochs: int | None = None, images: int | None = None) -> Trained:
    """A detector trained on phantoms, with the names of the parameters that gradients other than 0 reached, by phase."""
    detector = make(case, spec)
    reached: dict[str, set[str]] = {}

    def note(phase: Any, name: str) -> None:
        owned = {id(p) for group in phase.optimizers[name].param_groups for p in group["params"]}
        found = {n for n, p in detector.named_parameters() if id(p) in owned and p.grad is not None and bool((p.grad != 0).any())}
        reached.setdefault(phase.name, set()).update(found)

    training = Training(epochs or case.epochs, MaskBoxes(tile=case.tile), contrast=contrast_of(detector), after_backward=note)
    training.fit(detector, phantoms(spec, images or case.images, seed=1), phantoms(spec, 24, seed=9))
    return Trained(detector, spec, reached)


@cache
def shared(case_number: int) -> Trained:
    """Trained once for all tests that only score."""
    case = ALL_CASES[case_number]
    return trained(case, spec_of(case))


@pytest.fixture(params=range(len(ALL_CASES)), ids=[str(case) for case in ALL_CASES], scope="module")
def number(request: pytest.FixtureRequest) -> int:
    if ALL_CASES[request.param].name == "pyod":
        pytest.importorskip("pyod")
    return request.param


@pytest.fixture
def case(number: int) -> Case:
    return ALL_CASES[number]


@pytest.fixture
def fitted(number: int) -> Trained:
    return shared(number)


def own_modules(detector: Detector) -> list[nn.Module]:
    """All modules but those of frozen features, which stay in eval mode."""
    frozen = {part for module in detector.modules() if isinstance(module, Extractor) for part in module.modules()}
    assert not any(part.training for part in frozen)
    return [module for module in detector.modules() if module not in frozen]


def fields(scores: Scores) -> dict[str, Tensor]:
    """Everything in the scores by name."""
    whole = {"image": scores.image, "map": scores.map, "patches": scores.patches, **scores.parts}
    return {name: value for name, value in whole.items() if value is not None}


def assert_same(one: Scores, other: Scores) -> None:
    """Equal to the last bit: the same computation on the same machine."""
    first, second = fields(one), fields(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def assert_close(
    one: Scores, other: Scores, rows: Tensor | slice = slice(None), count: int | None = None, *, rounding: float = 1e-3
) -> None:
    """The first `count` images of `other` (all of them) are `rows` of `one`, up to rounding: other batches are computed in another order.

    What counts is how far apart the scores of different images lie, and not how far they are from 0. A score that looks at its batch, by
    its mean or its largest value, is off by far more than a thousandth of that.
    """
    first, second = fields(one), fields(other)
    assert first.keys() == second.keys()
    for name, values in first.items():
        allowed = rounding * (values.max() - values.min()) + 1e-6 * values.abs().max()
        assert (second[name][:count] - values[rows]).abs().max() <= allowed, name


def test_scores_have_the_promised_shapes(fitted: Trained) -> None:
    spec = fitted.spec
    scores = fitted.detector.score(phantoms(spec, 3, seed=2))
    assert scores.image.shape == (3,)
    assert scores.map is None or scores.map.shape == (3, 1, spec.height, spec.width)
    assert fitted.detector.localises == (scores.map is not None)
    assert scores.patches is None or (scores.patches.ndim, *scores.patches.shape[:2]) == (4, 3, 1)
    assert all(part.shape == (3,) for part in scores.parts.values())
    for name, value in fields(scores).items():
        assert value.dtype == torch.float32, name
        assert torch.isfinite(value).all(), name
        assert not value.requires_grad, name


def test_images_of_nothing_but_background_have_finite_scores(fitted: Trained) -> None:
    nothing = torch.full((2, *fitted.spec.shape), fitted.spec.low)
    assert all(torch.isfinite(value).all() for value in fields(fitted.detector.score(nothing)).values())


def test_each_image_is_scored_by_itself(case: Case, fitted: Trained) -> None:
    images = mixed(fitted.spec, 6)[0]
    together = fitted.detector.score(images)
    for i in range(len(images)):
        assert_close(together, fitted.detector.score(images[i : i + 1]), slice(i, i + 1), rounding=case.rounding)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    assert_close(together, fitted.detector.score(images[order]), order, rounding=case.rounding)
    more = torch.cat([images, torch.full_like(images[:5], fitted.spec.high)])
    assert_close(together, fitted.detector.score(more), count=len(images), rounding=case.rounding)


def test_a_score_that_looks_at_its_batch_would_be_noticed() -> None:
    values = torch.linspace(0.1, 1, 6)
    for looks in (lambda v: v - v.mean(), lambda v: v / v.max(), lambda v: 1000 + (v - v.min()) / (v.max() - v.min() + 1e-6)):
        with pytest.raises(AssertionError):
            assert_close(Scores(looks(values)), Scores(looks(values[:2])), slice(0, 2))
    assert_close(Scores(values), Scores(values[:2] * (1 + 1e-6)), slice(0, 2))


def test_scoring_changes_nothing(fitted: Trained) -> None:
    detector, images = fitted.detector, phantoms(fitted.spec, 4, seed=3)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    given = images.clone()
    first, second = detector.score(images), detector.score(images)
    assert torch.equal(images, given)
    assert_same(first, second)
    after = detector.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_of_every_module_is_restored(fitted: Trained, mode: bool) -> None:
    fitted.detector.train(mode)
    try:
        fitted.detector.score(phantoms(fitted.spec, 2, seed=3))
        assert all(module.training == mode for module in own_modules(fitted.detector))
        in_mode = fitted.detector.score(phantoms(fitted.spec, 2, seed=3))
    finally:
        fitted.detector.eval()
    assert_same(fitted.detector.score(phantoms(fitted.spec, 2, seed=3)), in_mode)


def test_saved_and_loaded_it_scores_the_same_bits(case: Case, fitted: Trained, tmp_path: Path) -> None:
    state = {name: value.contiguous() for name, value in fitted.detector.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    fresh = make(case, fitted.spec)
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    images = mixed(fitted.spec, 6)[0]
    assert_same(fitted.detector.score(images), fresh.score(images))


def test_planted_lesions_score_higher(case: Case, fitted: Trained) -> None:
    images, labels, _ = mixed(fitted.spec, 60, case.lesion)
    auroc = roc_auc_score(labels, fitted.detector.score(images).image)
    assert auroc >= case.auroc, auroc


def test_the_map_is_hot_where_the_lesion_was_planted(case: Case, fitted: Trained) -> None:
    images, labels, lesions = mixed(fitted.spec, 60, case.lesion)
    heat = fitted.detector.score(images).map
    if heat is None:
        pytest.skip("this method has no localisation")
    body = (images != fitted.spec.low).any(1, keepdim=True)
    ill = labels.bool()
    inside = (heat * lesions)[ill].sum() / lesions[ill].sum()
    outside = (heat * (body & ~lesions))[ill].sum() / (body & ~lesions)[ill].sum()
    assert roc_auc_score(lesions[ill][body[ill]], heat[ill][body[ill]]) > case.hot
    assert inside > outside


def test_occlusion_gives_a_detector_a_map_that_is_hot_where_the_lesion_was_planted(case: Case, fitted: Trained) -> None:
    if fitted.detector.localises:
        with pytest.raises(MedoodError, match="map of its own"):
            Occlusion(fitted.detector)
        return
    if not all(part.occludable for part in fitted.detector.modules() if isinstance(part, Extractor)):
        with pytest.raises(MedoodError, match="take other features"):
            Occlusion(fitted.detector)
        return
    images, labels, lesions = mixed(fitted.spec, 60, 0.18)
    ill = labels.bool().nonzero()[:12, 0]
    detector = Occlusion(fitted.detector, side=12, stride=8).mark_fitted()
    scores = detector.score(images[ill])
    assert_close(fitted.detector.score(images[ill]), replace(scores, map=None), rounding=case.rounding)
    body = (images[ill] != fitted.spec.low).any(1, keepdim=True)
    assert case.occluded is None or roc_auc_score(lesions[ill][body], scores.map[body]) > case.occluded


def test_gradients_reach_every_trainable_parameter(fitted: Trained) -> None:
    trainable = {name for name, parameter in fitted.detector.named_parameters() if parameter.requires_grad}
    assert trainable <= set().union(*fitted.reached.values())
    for phase in fitted.detector.phases():
        held = {id(p) for optimizer in phase.optimizers.values() for group in optimizer.param_groups for p in group["params"]}
        names = {name for name, parameter in fitted.detector.named_parameters() if id(parameter) in held and parameter.requires_grad}
        assert names <= fitted.reached.get(phase.name, set()), phase.name


def test_validation_is_a_loss_per_image_that_repeats(fitted: Trained) -> None:
    contrast = contrast_of(fitted.detector)
    training = Training(1, MaskBoxes(), contrast=contrast)
    images = phantoms(fitted.spec, 4, seed=5)
    for phase in fitted.detector.phases():
        with torch.no_grad():
            once = phase.validate(training.batch(images))
            again = phase.validate(Training(1, contrast=contrast).batch(images))
        assert bool(phase.optimizers) or once is None
        if once is not None:
            assert once.shape == (4,)
            assert torch.isfinite(once).all()
            assert torch.equal(once, again)


def test_reconstructions_are_images_of_the_range(fitted: Trained) -> None:
    images = phantoms(fitted.spec, 3, seed=2)
    for title, values in fitted.detector.reconstructions(images).items():
        assert values.shape == images.shape, title
        assert values.dtype == torch.float32, title
        assert torch.isfinite(values).all(), title
        assert values.min() >= fitted.spec.low, title
        assert values.max() <= fitted.spec.high, title
        assert not values.requires_grad, title


def test_each_image_is_reconstructed_by_itself(fitted: Trained) -> None:
    images = mixed(fitted.spec, 6)[0]
    together = fitted.detector.reconstructions(images)
    for i in range(len(images)):
        alone = fitted.detector.reconstructions(images[i : i + 1])
        assert list(alone) == list(together)
        for title, values in alone.items():
            assert (values - together[title][i]).abs().max() <= 1e-3 * (fitted.spec.high - fitted.spec.low), title


@pytest.mark.parametrize("mode", [True, False])
def test_reconstructing_changes_nothing(fitted: Trained, mode: bool) -> None:
    detector, images = fitted.detector, phantoms(fitted.spec, 4, seed=3)
    before, given = {name: value.clone() for name, value in detector.state_dict().items()}, images.clone()
    usual = detector.reconstructions(images)
    detector.train(mode)
    try:
        again = detector.reconstructions(images)
        assert all(module.training == mode for module in own_modules(detector))
    finally:
        detector.eval()
    assert torch.equal(images, given)
    assert usual.keys() == again.keys()
    assert all(torch.equal(again[title], values) for title, values in usual.items())
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_images_of_other_shapes_are_refused(fitted: Trained) -> None:
    channels, height, width = fitted.spec.shape
    for shape in ((channels + 1, height, width), (channels, height + 32, width), (channels, height, width - 1)):
        with pytest.raises(MedoodError):
            fitted.detector.score(torch.zeros((2, *shape)))
        with pytest.raises(MedoodError):
            fitted.detector.reconstructions(torch.zeros((2, *shape)))


@cache
def mixed(spec: ImageSpec, count: int, radius: float = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    """Phantoms, the last half of them with lesions of all kinds by turns; labels (count,); lesions (count, 1, H, W)."""
    normal = phantoms(spec, count, seed=8)
    images, labels = normal.clone(), torch.zeros(count)
    lesions = torch.zeros((count, 1, spec.height, spec.width), dtype=torch.bool)
    for number in range(count // 2, count):
        kind = LESIONS[number % len(LESIONS)]
        images[number : number + 1], lesions[number : number + 1] = plant(spec, normal[number : number + 1], kind, number, radius)
        labels[number] = 1
    return images, labels, lesions
