"""Near-copies of pictures and volumes: what is done to files does not hide them, and what merely looks alike is none."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medood.core.errors import RunError
from medood.core.geometry import photograph_geometry
from medood.core.volume import Entry, Volume
from medood.data.near_copies import ALIKE, NO_HASHES, HashedImages, directions, nearest, perceptual_hash
from medood.recipe.loading import load_recipe
from medood.transforms.pipeline import Pipeline

PIPELINE = Pipeline(load_recipe("rsna_ae", ["transforms.name=grey_image", "transforms.size=[128, 128]"]).transforms)


def radiograph(seed: int, side: int = 256) -> np.ndarray:
    """uint8 (side, side): two dark lungs that all share, with vessels, noise and a shape of one's own."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    shift = rng.normal(0, 0.03, 4)
    middles = (0.4 + shift[0], shift[1]), (-0.4 + shift[2], shift[3])
    lungs = sum(np.exp(-(((x - across) / 0.3) ** 2) - ((y - down) / 0.6) ** 2) for across, down in middles)
    vessels = ndimage.gaussian_filter(rng.normal(size=(side, side)), side / 40)
    return np.clip(200 - 120 * lungs + 9 * vessels / vessels.std() + rng.normal(0, 2, x.shape), 0, 255).astype(np.uint8)


def hashed(*pictures: np.ndarray) -> np.ndarray:
    """Hashes of uint8 pictures, prepared as a run would."""
    found = []
    for picture in pictures:
        image = picture.astype(np.float32)[None, None]
        volume = Volume(Entry("x", (), "g"), image, photograph_geometry(image.shape[1:]), np.array([-1], np.int8))
        found.append(perceptual_hash(PIPELINE.prepare(volume).images, 1.0))
    return np.concatenate(found)


def single(hashes: np.ndarray, name: str = "{}") -> HashedImages:
    """Every image an entry of its own."""
    return HashedImages(hashes, np.arange(len(hashes)), [name.format(i) for i in range(len(hashes))])


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(picture: np.ndarray, factor: float) -> np.ndarray:
    side = round(len(picture) * factor)
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "quality 50": lambda p: jpeg(p, 50),
    "quality 75": lambda p: jpeg(p, 75),
    "quality 95": lambda p: jpeg(p, 95),
    "half": lambda p: resized(p, 0.5),
    "double": lambda p: resized(p, 2),
    "half, quality 50": lambda p: jpeg(resized(p, 0.5), 50),
    "brighter": lambda p: np.clip(p.astype(int) + 10, 0, 255).astype(np.uint8),
    "darker": lambda p: (p * 0.9).astype(np.uint8),
    "gamma": lambda p: (255 * (p / 255) ** 0.9).astype(np.uint8),
}
PICTURES = [radiograph(seed) for seed in range(40)]
TRAINED = single(hashed(*PICTURES[:20]))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_done_to_a_file_does_not_hide_a_copy(change: Callable[[np.ndarray], np.ndarray]) -> None:
    copies = single(hashed(*(change(picture) for picture in PICTURES[10:20])))
    assert TRAINED.originals(copies) == {str(i): str(i + 10) for i in range(10)}


def test_other_patients_are_no_copies_although_their_images_look_alike() -> None:
    others = hashed(*PICTURES[20:])
    grey = np.stack([picture.ravel() for picture in PICTURES]).astype(float)
    assert np.corrcoef(grey).min() > 0.7, "or the test would be an easy one"
    assert TRAINED.originals(single(others)) == {}


def test_slices_of_one_volume_are_no_copies_of_their_neighbours_but_copies_of_themselves() -> None:
    brain = ndimage.gaussian_filter(np.random.default_rng(0).random((48, 64, 64)), (6, 4, 4))
    brain = ((brain - brain.min()) / np.ptp(brain) * 255).astype(np.uint8)
    even, odd = hashed(*brain[::2]), hashed(*brain[1::2])
    alike = (directions(even) * directions(odd)).sum(1)
    assert (alike > ALIKE).mean() > 0.8, "or a fixed limit would do"
    volume = HashedImages(even, np.zeros(24, int), ("volume",))
    assert original_of(volume, odd) is None
    assert original_of(volume, even) == "volume"
    assert original_of(volume, hashed(*(jpeg(image, 75) for image in brain[::2]))) == "volume"
    assert original_of(volume, even[7:8]) == "volume", "one slice of it as a picture"


def original_of(images: HashedImages, hashes: np.ndarray) -> str | None:
    """Which entry the images of one other entry are near-copies of; the two ways to ask must agree."""
    found = images.original_of(images.owners_of_originals(hashes))
    assert images.originals(HashedImages(hashes, np.zeros(len(hashes), int), ("it",))).get("it") == found
    return found


def test_of_two_volumes_half_of_the_slices_must_agree() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(-127, 128, (2, 10, 400)).astype(np.int8)
    volume = HashedImages(first, np.zeros(10, int), ("volume",))
    for shared, found in ((4, None), (5, "volume")):
        assert original_of(volume, np.concatenate([first[:shared], second[shared:]])) == found
    both = HashedImages(np.concatenate([first, second]), np.repeat([0, 1], 10), ("a", "b"))
    assert original_of(both, np.concatenate([first[:4], second[:6]])) == "b", "the one that it shares more with"
    assert original_of(volume, np.concatenate([first, rng.integers(-127, 128, (40, 400)).astype(np.int8)])) == "volume", "it is in there"


def test_images_that_show_nothing_are_copies_of_nothing() -> None:
    blank = np.full((64, 64), 90, np.uint8)
    noisy = blank + (np.random.default_rng(0).random((64, 64)) < 0.1)
    hashes = perceptual_hash(np.stack([blank, noisy])[:, None] / 255, 1.0)
    assert not hashes.any()
    assert single(hashes).originals(single(hashes)) == {}
    assert TRAINED.originals(single(NO_HASHES)) == single(NO_HASHES).originals(TRAINED) == {}


def test_the_nearest_is_that_of_a_loop_whatever_the_size_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    ours, theirs = (rng.integers(-127, 128, (n, 400)).astype(np.int8) for n in (23, 31))
    theirs[30] = theirs[4]
    table = np.array([[np.corrcoef(a, b)[0, 1] for b in theirs.astype(float)] for a in ours.astype(float)])
    for block in (4096, 7):
        monkeypatch.setattr("medood.data.near_copies._BLOCK", block)
        at, alike = nearest(directions(ours), directions(theirs))
        assert at.tolist() == table.argmax(1).tolist()
        assert alike == pytest.approx(table.max(1), abs=1e-5)


def test_a_hash_does_not_depend_on_its_company_nor_on_the_range_of_values() -> None:
    together = hashed(*PICTURES[:3])
    assert np.array_equal(together[1:2], hashed(PICTURES[1]))
    images = np.stack(PICTURES[:3])[:, None].astype(np.float32)
    wide, narrow = perceptual_hash(images, 255.0), perceptual_hash(images / 255 * 2 - 1, 2.0)
    assert np.abs(wide.astype(int) - narrow).max() <= 1
    assert np.abs(wide).max(1).tolist() == [127] * 3


def test_what_was_saved_is_read_back_and_damage_is_explained(tmp_path: Path) -> None:
    TRAINED.save(tmp_path / "hashes.npz")
    back = HashedImages.load(tmp_path / "hashes.npz", TRAINED.ids)
    assert np.array_equal(back.hashes, TRAINED.hashes)
    assert back.originals(TRAINED) == {name: name for name in TRAINED.ids}
    for content in (b"", b"nothing of the kind", (tmp_path / "hashes.npz").read_bytes()[:-300]):
        (tmp_path / "hashes.npz").write_bytes(content)
        with pytest.raises(RunError, match="cannot be read"):
            HashedImages.load(tmp_path / "hashes.npz", TRAINED.ids)
