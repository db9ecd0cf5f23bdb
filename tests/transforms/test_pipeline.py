"""From volumes to images and back: known values, known places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import ResizeWithPadOrCrop

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Geometry, photograph_geometry
from medood.core.volume import Entry, Voi, Volume
from medood.recipe.recipe import Preparation
from medood.transforms.fit import placement
from medood.transforms.pipeline import Pipeline, augmentation
from medood.transforms.robust_scale import RobustScale
from medood.transforms.voi_window import windowed

NAN = float("nan")


def plan(**values) -> Preparation:
    return Preparation(**{"summary": "test", "size": (32, 32)} | values)


def volume(image: np.ndarray, affine: np.ndarray | None = None, **values) -> Volume:
    shape = image.shape[1:]
    geometry = photograph_geometry(shape) if affine is None else Geometry(affine, shape)
    labels = values.pop("labels", np.full(shape[0], -1, np.int8))
    return Volume(Entry("x", (), "p", slices=shape[0]), image.astype(np.float32), geometry, labels, **values)


def brain(seed: int = 0, shape: tuple[int, int, int] = (6, 24, 28)) -> np.ndarray:
    """An ellipsoid of texture on exactly -3, its slices thinner towards the ends."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.linspace(-1, 1, n) for n in shape)
    inside = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None] ** 2 < 0.8
    return np.where(inside, rng.normal(100, 15, shape), -3.0)[None]


BRATS = {
    "background": 0.0,
    "steps": [{"foreground": {}}, {"robust_scale": {}}, {"scale_range": {"low": -4.0, "high": 6.0, "to_low": 0.05}}],
}


def test_values_are_scaled_by_median_and_quartiles_of_the_body() -> None:
    image = brain()
    prepared = Pipeline(plan(size=(24, 28), **BRATS)).prepare(volume(image))
    inside = image[0] != -3
    first, median, third = np.percentile(image[0][inside], (25, 50, 75))
    expected = np.where(inside, 0.05 + 0.095 * np.clip((image[0] - median) / (third - first), -4, 6) + 0.38, 0.0)
    assert np.allclose(prepared.images[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("method", ["quartiles", "shorth"])
def test_gain_and_offset_of_the_scanner_do_not_matter(method: str) -> None:
    steps = [{"foreground": {}}, {"robust_scale": {"method": method}}, BRATS["steps"][2]]
    pipeline = Pipeline(plan(background=0.0, steps=steps))
    one, other = (pipeline.prepare(volume(image)).images for image in (brain(), brain() * 7.5 + 1000))
    assert np.allclose(one, other, atol=1e-4)


def test_the_shortest_half_is_that_of_every_interval_tried() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=201)
    found = RobustScale(method="shorth")({"image": values.reshape(1, 1, 1, -1)})["image"].ravel()
    ordered = sorted(values)
    width, low = min((ordered[i + 100] - ordered[i], ordered[i]) for i in range(101))
    assert np.allclose(found, (values - low - width / 2) / width, atol=1e-5)
    assert np.isfinite(RobustScale(method="shorth")({"image": np.full((1, 1, 2, 2), 7.0)})["image"]).all()


def test_the_shortest_half_is_moved_less_by_a_bright_lesion_than_quartiles_are() -> None:
    rng = np.random.default_rng(2)
    normal, lesion = rng.normal(100, 15, 10_000), rng.normal(250, 20, 2_500)
    moved = {}
    for method in ("quartiles", "shorth"):
        scaled = RobustScale(method=method)({"image": np.append(normal, lesion).reshape(1, 1, 1, -1)})["image"].ravel()[:10_000]
        moved[method] = abs(float(scaled.mean())), abs(float(scaled.std()) * 1.349 - 1)
    assert moved["shorth"][0] < 0.5 * moved["quartiles"][0]
    assert moved["shorth"][1] < moved["quartiles"][1]


def test_slices_with_little_body_are_skipped_and_named() -> None:
    image = brain()
    area = (image[0] != -3).mean((1, 2))
    prepared = Pipeline(plan(size=(24, 28), min_foreground=0.6, **BRATS)).prepare(volume(image))
    assert set(prepared.slices) == set(np.flatnonzero(area >= 0.6 * area.max()))
    assert set(prepared.skipped) | set(prepared.slices.tolist()) == set(range(6))
    assert 0 < len(prepared.skipped) < 6


@pytest.mark.parametrize(
    ("native", "size", "fit"),
    [
        ((20, 31), (32, 32), "pad"),
        ((50, 41), (32, 32), "pad"),
        ((50, 41), (32, 40), "crop"),
        ((7, 99), (32, 32), "stretch"),
        ((28, 45), (32, 32), "keep"),
    ],
)
def test_maps_come_back_to_where_the_pixels_were(native: tuple[int, int], size: tuple[int, int], fit: str) -> None:
    place = placement(photograph_geometry((1, *native)), size, fit, None)
    rows, columns = np.mgrid[: native[0], : native[1]].astype(np.float32)
    for ramp in (rows, columns):
        back = place.undo(place.apply(ramp[None], 0.0))[0]
        middle = tuple(slice(n // 2 - n // 5, n // 2 + n // 5 + 1) for n in native)
        assert np.abs(back - ramp)[middle].max() < 0.51 * max(1, max(place.region) / min(size))


@pytest.mark.parametrize(("native", "region"), [((20, 30), (32, 32)), ((52, 41), (32, 33)), ((10, 60), (32, 32)), ((9, 61), (32, 32))])
def test_placing_agrees_with_monai_and_undoes_itself(native: tuple[int, int], region: tuple[int, int]) -> None:
    stack = np.random.default_rng(0).normal(size=(1, *native)).astype(np.float32)
    place = placement(photograph_geometry((1, *native)), region, "pad", None)
    place = type(place)(native, region, region)
    if all((n - r) % 2 == 0 for n, r in zip(native, region, strict=True)):  # MONAI's padding and cropping round odd differences differently
        assert np.array_equal(place.apply(stack, 0.0), np.asarray(ResizeWithPadOrCrop(region)(torch.from_numpy(stack))))
    kept = place.undo(np.ones((1, *region), np.float32))[0] == 1
    assert np.array_equal(place.undo(place.apply(stack, 0.0))[0][kept], stack[0][kept])


def test_pixels_may_be_kept_as_they_are_with_a_border_of_the_lowest_value_around_them() -> None:
    pixels = np.random.default_rng(0).uniform(1, 255, (28, 28)).astype(np.float32)
    steps = [{"scale_range": {"low": 0.0, "high": 255.0}}]
    (image,) = Pipeline(plan(size=(32, 32), fit="keep", steps=steps)).prepare(volume(pixels[None, None])).images
    assert np.allclose(image[0, 2:-2, 2:-2], pixels / 255)
    assert image[0].sum() == pytest.approx(pixels.sum() / 255, rel=1e-5)  # zeros around


@pytest.mark.parametrize("region", [(32, 40), (18, 26), (21, 33), (64, 21)])
def test_the_grid_of_the_region_says_where_its_pixels_are(region: tuple[int, int]) -> None:
    native = (24, 31)
    geometry = Geometry(np.diag([-0.5, -0.8, 2.0, 1.0]), (1, *native))
    place = type(placement(geometry, native, "pad", None))(native, region, region)
    pixel = (12, 15)  # near the middle, so that it is in every region
    image = np.zeros((1, *native), np.float32)
    image[0][pixel] = 1
    moved = np.unravel_index(place.apply(image, 0.0)[0].argmax(), region)
    assert np.allclose(place.region_geometry(geometry).world((0, *moved)), geometry.world((0, *pixel)))


def test_field_of_view_makes_a_millimetre_the_same_number_of_pixels_on_every_scanner() -> None:
    for spacing in (0.5, 1.0, 1.6):
        affine = np.diag([-spacing, -spacing, 2.0, 1.0])
        rows, columns = np.mgrid[:100, :120]
        disc = ((rows - 49.5) ** 2 + (columns - 59.5) ** 2) * spacing**2 < 20**2
        prepared = Pipeline(plan(size=(64, 64), field_of_view=(64.0, 64.0))).prepare(volume(disc[None, None].astype(float), affine))
        assert prepared.images.sum() == pytest.approx(np.pi * 20**2, rel=0.03)


@pytest.mark.parametrize("plane", ["native", "axial", "coronal", "sagittal"])
def test_a_map_lies_on_its_volume_whatever_plane_was_cut(plane: str) -> None:
    affine = np.array([[0.0, 0.0, 2.0, 5.0], [1.0, 0.0, 0.0, -7.0], [0.0, -1.5, 0.0, 3.0], [0, 0, 0, 1]])  # a sagittal series
    image = np.zeros((1, 10, 24, 20))
    image[0, 3, 6:9, 11:14] = 1.0
    prepared = Pipeline(plan(plane=plane)).prepare(volume(image, affine))
    back = prepared.way.restore(prepared.images[:, 0], prepared.slices)
    assert back.shape == image.shape[1:]
    centre = np.array(np.unravel_index(back.argmax(), back.shape))
    assert np.abs(centre - (3, 7, 12)).max() <= 1
    weight = back / back.sum()
    assert [float((np.moveaxis(np.indices(back.shape), 0, -1)[..., i] * weight).sum()) for i in range(3)] == pytest.approx(
        [3, 7, 12], abs=0.15
    )


def test_labels_follow_their_slices_and_masks_decide_when_cut_another_way() -> None:
    affine = np.diag([1.0, 1.0, -2.0, 1.0])  # slices run towards the feet
    image, mask = np.ones((1, 4, 8, 8)), np.zeros((4, 8, 8), np.uint8)
    image[0, 2, 4, 5] = 2.0
    mask[2, 4, 5] = 1
    labels = np.array([0, -1, 1, 0], np.int8)
    native = Pipeline(plan(range=(0.0, 2.0))).prepare(volume(image, affine, labels=labels, mask=mask))
    assert native.labels.tolist() == labels.tolist()
    assert native.images[2].max() == native.images.max()
    coronal = Pipeline(plan(range=(0.0, 2.0), plane="coronal")).prepare(volume(image, affine, labels=labels, mask=mask))
    assert coronal.slices.tolist() == list(range(8))
    assert np.flatnonzero(coronal.labels).tolist() == [4]
    assert coronal.images[4].max() > coronal.images[3].max()


def test_wrong_channels_and_broken_promises_are_refused() -> None:
    with pytest.raises(InputError, match="RGB colour image where these transforms expect grey") as caught:
        Pipeline(plan()).prepare(volume(np.zeros((3, 1, 8, 8))))
    assert caught.value.code == "channels"
    with pytest.raises(InputError, match="promise values from 0 to 1 but made 0 to 200"):
        Pipeline(plan()).prepare(volume(np.full((1, 1, 8, 8), 200.0) * np.eye(8)))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"percentile_scale": {"lower": -5.0, "upper": 150.0}}, "`lower` and `upper` are percentiles from 0 to 100.*lower -5, upper 150"),
        ({"percentile_scale": {"lower": 99.0, "upper": 1.0}}, "the lower one first; found lower 99, upper 1"),
        ({"percentile_scale": {"lower": NAN}}, "found lower nan, upper 99.5"),
        ({"percentile_scale": {"lower": 50.0, "upper": 50.0}}, "found lower 50, upper 50"),
        ({"scale_range": {"low": 0.0, "high": 0.0}}, "`low` and `high` are two finite numbers, the lower one first; found low 0, high 0"),
        ({"scale_range": {"low": 255.0, "high": 0.0}}, "found low 255, high 0"),
        ({"scale_range": {"low": 0.0, "high": float("inf")}}, "found low 0, high inf"),
        ({"scale_range": {"low": NAN, "high": 1.0}}, "found low nan, high 1"),
        ({"scale_range": {"low": 0.0, "high": 255.0, "to_low": 1.0}}, "`to_low` and `to_high` are two finite.*found to_low 1, to_high 1"),
    ],
)
def test_steps_refuse_parameters_that_no_image_could_be_prepared_with(step: dict, words: str) -> None:
    with pytest.raises(MedoodError, match=words):
        Pipeline(plan(steps=[step]))


def test_otsu_finds_the_head_in_air_that_is_not_constant() -> None:
    rng = np.random.default_rng(0)
    head = brain() + 3
    noisy = head + rng.rayleigh(4, head.shape)
    body = Pipeline(
        plan(background=0.0, steps=[{"foreground": {}}, {"scale_range": {"low": 0.0, "high": 300.0, "to_low": 0.1}}], size=(24, 28))
    )
    found = body.prepare(volume(noisy)).images[:, 0] > 0
    assert (found == (head[0] > 0)).mean() > 0.97


def test_voi_windows_follow_the_standard() -> None:
    # PS3.3 C.11.2.1.2.1: centre 2048, width 4096 maps 0 to black and 4095 to white
    values = np.array([[-5.0, 0.0, 2047.5, 4095.0, 9999.0]])
    assert windowed(values, Voi(2048, 4096)).ravel() == pytest.approx([0, 0, 0.5, 1, 1])
    assert windowed(values, Voi(2047.5, 4095, "LINEAR_EXACT")).ravel() == pytest.approx([0, 0, 0.5, 1, 1])
    assert windowed(np.array([[100.0]]), Voi(100, 50, "SIGMOID"))[0, 0] == pytest.approx(0.5)
    table = Voi(lut=np.array([0, 10, 1000]), first=-1)
    assert windowed(np.array([[-7.0, -1.0, 0.0, 1.0, 5.0]]), table).ravel() == pytest.approx([0, 0, 0.01, 1, 1])


def test_augmentation_depends_on_its_seed_alone() -> None:
    augment = augmentation([{"mask_boxes": {}}])
    assert augment is not None
    sample = {"image": torch.rand(1, 64, 64)}
    first, other, again = (augment(dict(sample), seed)["hidden"] for seed in (1, 2, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert augmentation([]) is None
