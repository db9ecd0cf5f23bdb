from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from export_phantoms import GEOMETRIES, LESION, PICTURE, PICTURE_LESION, SCALE, SHAPE, blob, colour, grey
from PIL import Image

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Geometry, Orientation, orientation_towards, photograph_geometry
from medood.core.map_scale import MapScale
from medood.export.colours import OPACITY, blend, colour_table, displayed, grey_window, heat, is_colour
from medood.export.maps import read_png16, write_png16
from medood.export.pictures import hottest_slices, in_ranges, side_letters, write_montage_png, write_overlay_png
from medood.export.verdict import Verdict

EMPTY = np.zeros(SHAPE, np.float32)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)[..., :3].astype(int)


@pytest.mark.parametrize("numbers", [(1, 1, 1), (2, 1, 1), (0, float("nan"), 0), (0, 1, float("inf"))])
def test_a_scale_must_rise(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(MedoodError, match="low < high"):
        MapScale(*numbers)


def test_the_palette_is_fixed() -> None:
    table = colour_table()
    assert table.shape == (256, 4)
    assert table[[0, 16, 31, 32, 128, 255]].tolist() == [
        [87, 16, 110, 0],
        [105, 22, 110, 127],
        [120, 28, 109, 247],
        [122, 29, 109, 255],
        [221, 81, 58, 255],
        [241, 239, 117, 255],
    ]
    assert not table.flags.writeable
    luminance = table[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > -1).all()
    assert luminance[255] - luminance[0] > 150


def test_heat_follows_the_scale_and_nothing_else() -> None:
    scale = MapScale(2.0, 6.0, 3.0)
    colours = heat(np.array([-9.0, 2.0, 2.99, 3.0, 4.0, 6.0, 99.0], np.float32), scale)
    assert colours[:, 3].tolist() == [0, 0, 0, 255, 255, 255, 255]
    assert colours[3].tolist() == colour_table()[64].tolist()
    assert colours[4].tolist() == colour_table()[128].tolist()
    assert colours[5].tolist() == colours[6].tolist() == colour_table()[255].tolist()


def test_blend_is_a_weighted_mean() -> None:
    picture, colours = np.array([[100, 0, 200]], np.uint8), np.array([[200, 100, 0, 255]], np.uint8)
    assert blend(picture, colours).tolist() == [[160, 60, 80]]  # at an opacity of 0.6
    colours[0, 3] = 0
    assert blend(picture, colours).tolist() == [[100, 0, 200]]
    assert OPACITY == 0.6


def test_window_sees_the_body_and_not_what_is_around_it() -> None:
    body = np.random.default_rng(0).uniform(100, 200, 50_000)
    low, high = grey_window(np.concatenate([np.zeros(950_000), body, [1e6] * 100]))
    assert low == 0
    assert 199 < high < 201
    assert grey_window(np.full((3, 3), 7.0)) == (6.5, 7.5)


def test_grey_is_linear_in_its_window() -> None:
    image = np.array([[[-5.0, 0, 50, 100, 300]]])
    assert displayed(image, (0, 100))[0, :, 1].tolist() == [0, 0, 128, 255, 255]


def test_three_mr_contrasts_are_not_rgb() -> None:
    assert is_colour(colour(PICTURE))
    for values in (colour(PICTURE) + 0.5, colour(PICTURE) - 1, colour(PICTURE)[:2], colour(PICTURE) * 2):
        assert not is_colour(values)
    np.testing.assert_array_equal(displayed(colour(PICTURE))[0, 4, 9], colour(PICTURE)[:, 0, 4, 9])


@pytest.mark.parametrize("levels", [65536, 4096])
def test_16_bit_maps_come_back_to_half_a_step(levels: int, tmp_path: Path) -> None:
    array = np.linspace(-1, 3, 2400, dtype=np.float32).reshape(PICTURE.shape)
    write_png16(tmp_path / "map.png", array, -1.0, 3.0, levels=levels)
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size == (60, 40)
        assert [picture.getpixel((0, 0)), picture.getpixel((59, 39))] == [0, 65535]
        assert picture.getpixel((0, 20)) == pytest.approx(65535 * 1200 / 2399, abs=65535 / levels)
        assert len(np.unique(np.asarray(picture))) <= levels
    back = read_png16(tmp_path / "map.png", -1.0, 3.0)
    assert np.abs(back - array).max() <= 2 / (levels - 1) + 2 / 65535 + 1e-6
    write_png16(tmp_path / "map.png", array * 10, -1.0, 3.0)
    back = read_png16(tmp_path / "map.png", -1.0, 3.0)
    assert (back.min(), back.max()) == (-1, 3)  # clipped, not wrapped


def test_only_16_bit_pictures_are_maps(tmp_path: Path) -> None:
    write_overlay_png(tmp_path / "overlay.png", grey(PICTURE), blob(PICTURE, PICTURE_LESION), SCALE)
    with pytest.raises(InputError, match="16 bit"):
        read_png16(tmp_path / "overlay.png", 0.0, 1.0)
    for content in (b"no picture", b"", (tmp_path / "overlay.png").read_bytes()[:200]):
        (tmp_path / "text.png").write_bytes(content)
        with pytest.raises(InputError, match=r"text\.png"):
            read_png16(tmp_path / "text.png", 0.0, 1.0)
    with pytest.raises(InputError, match="no map"):
        read_png16(tmp_path / "nowhere.png", 0.0, 1.0)
    with pytest.raises(InputError, match="not finite"):
        write_png16(tmp_path / "nan.png", np.full(PICTURE.shape, np.nan, np.float32), 0.0, 1.0)
    with pytest.raises(MedoodError, match="one slice, found 12"):
        write_png16(tmp_path / "volume.png", EMPTY, 0.0, 1.0)
    assert {path.name for path in tmp_path.iterdir()} == {"overlay.png", "text.png"}


TIMES = 8  # 60 columns are enlarged to 480


@pytest.mark.parametrize("image", [grey(PICTURE), colour(PICTURE)], ids=["grey", "rgb"])
def test_overlay_changes_the_lesion_and_nothing_else(image: np.ndarray, tmp_path: Path) -> None:
    array = blob(PICTURE, PICTURE_LESION)
    write_overlay_png(tmp_path / "overlay.png", image, array, SCALE)
    shown, plain = pixels(tmp_path / "overlay.png")[: 40 * TIMES, : 60 * TIMES], displayed(image)[0].astype(int)
    every = [shown[i::TIMES, j::TIMES] for i in (0, 3, 7) for j in (0, 3, 7)]
    assert all(np.array_equal(one, every[0]) for one in every)  # every pixel of the image is a square of one colour
    shown = every[0]
    changed = np.abs(shown - plain).max(axis=2) > 0
    np.testing.assert_array_equal(changed, array[0] >= SCALE.threshold)
    expected = 0.6 * colour_table()[255, :3] + 0.4 * plain[PICTURE_LESION[1:]]
    np.testing.assert_allclose(shown[PICTURE_LESION[1:]], expected, atol=0.51)
    with Image.open(tmp_path / "overlay.png") as picture:
        assert picture.info == {}


def test_a_large_picture_is_not_enlarged(tmp_path: Path) -> None:
    geometry = photograph_geometry((1, 600, 900))
    write_overlay_png(tmp_path / "overlay.png", colour(geometry), np.zeros((1, 600, 900), np.float32), SCALE)
    np.testing.assert_array_equal(pixels(tmp_path / "overlay.png")[:600, :900], displayed(colour(geometry))[0])


def test_what_was_not_examined_is_grey_and_hatched(tmp_path: Path) -> None:
    hidden = np.zeros(PICTURE.shape, bool)
    hidden[0, :, :20] = True
    image = colour(PICTURE)
    write_overlay_png(tmp_path / "overlay.png", image, blob(PICTURE, PICTURE_LESION), SCALE, hidden=hidden)
    shown = pixels(tmp_path / "overlay.png")[: 40 * TIMES, : 60 * TIMES]
    crossed, rest = shown[:, : 20 * TIMES], shown[:, 20 * TIMES :]
    assert np.ptp(crossed, axis=2).max() == 0  # no colour is left
    assert np.abs(np.diff(crossed[..., 0], axis=1)).max() > 40  # stripes
    assert np.ptp(rest, axis=2).min() > 0
    write_overlay_png(tmp_path / "again.png", image, blob(PICTURE, PICTURE_LESION), SCALE)
    np.testing.assert_array_equal(rest, pixels(tmp_path / "again.png")[: 40 * TIMES, 20 * TIMES : 60 * TIMES])


def test_the_colour_bar_has_the_maps_own_colours(tmp_path: Path) -> None:
    write_overlay_png(tmp_path / "overlay.png", grey(PICTURE), blob(PICTURE, PICTURE_LESION), SCALE)
    beside = pixels(tmp_path / "overlay.png")[:, 60 * TIMES :]
    found = {tuple(value) for value in beside.reshape(-1, 3)}
    own = {tuple(value) for value in colour_table()[:, :3].astype(int)}
    assert len(own & found) > 150


VERDICT = Verdict(0.1234, 0.021, "anomalous", "grey values unlike those of the training images", "gantry_tilt:15.0;lossy", 0.5)


def test_a_verdict_is_said_in_words() -> None:
    assert VERDICT.headline == "score 0.1234   p 0.021   anomalous"
    assert VERDICT.warnings == [
        "Of another kind than the training images: grey values unlike those of the training images.",
        "50.0% was not examined (hatched).",
        "Issues: gantry_tilt:15.0, lossy.",
    ]
    assert Verdict(0.1, 1e-7, "out_of_domain").headline.startswith("score 0.1   p < 0.0001   OUT OF DOMAIN")
    assert Verdict().headline == ""
    assert Verdict().warnings == []


def test_a_verdict_needs_room_below_the_picture(tmp_path: Path) -> None:
    heights = []
    for verdict in (Verdict(), Verdict(0.1, 0.2, "normal"), VERDICT):
        write_overlay_png(tmp_path / "overlay.png", grey(PICTURE), blob(PICTURE, PICTURE_LESION), SCALE, verdict=verdict)
        below = pixels(tmp_path / "overlay.png")[40 * TIMES :]
        heights.append(below.shape[0])
        assert (below.max(initial=0) > 200) == bool(verdict.headline)
    assert heights == sorted(set(heights))


def test_out_of_domain_stands_across_the_picture(tmp_path: Path) -> None:
    inks = []
    for decision in ("normal", "out_of_domain"):
        verdict = Verdict(0.1, 0.2, decision)
        write_overlay_png(tmp_path / "overlay.png", grey(PICTURE), blob(PICTURE, PICTURE_LESION), SCALE, verdict=verdict)
        picture = pixels(tmp_path / "overlay.png")[: 40 * TIMES, : 60 * TIMES].astype(int)
        inks.append(picture[..., 0] - picture[..., 2] > 80)  # of the warning's colour
    across = inks[1] & ~inks[0]
    assert not (inks[0] & ~inks[1]).all()
    rows, columns = (np.flatnonzero(across.any(axis)) for axis in (1, 0))
    assert np.ptp(rows) > 0.5 * across.shape[0]
    assert np.ptp(columns) > 0.5 * across.shape[1]


def test_a_picture_holds_one_slice(tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match="one slice, found 12"):
        write_overlay_png(tmp_path / "overlay.png", grey(GEOMETRIES["axial"]), EMPTY, SCALE)
    assert list(tmp_path.iterdir()) == []


def test_hottest_slices_are_in_order_and_apart() -> None:
    array = np.zeros((100, 2, 2), np.float32)
    array[:, 1, 1] = -0.01
    for number, value in {40: 9, 41: 8, 42: 7, 90: 3, 10: 2}.items():
        array[number, 0, 1] = value
    assert hottest_slices(array, 3) == [10, 40, 90]  # at least 100 / 12 apart
    assert hottest_slices(array[40:44], 9) == [0, 1, 2, 3]
    assert hottest_slices(array[40:41], 9) == [0]
    sparse = np.zeros((9, 2, 2), np.float32)
    assert hottest_slices(sparse, 3) == [4]
    sparse[[2, 7], 0, 0] = 1
    assert hottest_slices(sparse, 3) == [2, 7]


def difference(tmp_path: Path, geometry: Geometry, image: np.ndarray, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The montage of one slice, and where on it the map shows."""
    write_montage_png(tmp_path / "with.png", image, array, geometry, SCALE, (0, 255))
    write_montage_png(tmp_path / "without.png", image, np.zeros_like(array), geometry, SCALE, (0, 255))
    shown = pixels(tmp_path / "with.png")
    return shown, np.abs(shown - pixels(tmp_path / "without.png")).max(axis=2) > 20


@pytest.mark.parametrize("turned", [False, True])
def test_montage_lies_as_on_a_radiological_display(turned: bool, tmp_path: Path) -> None:
    """A bright mark at the patient's left front, a lesion at the right back: on the screen they are upper right and lower left."""
    sign = -1.0 if turned else 1.0
    affine = np.diag([-sign, -sign, 1.0, 1.0])
    affine[:2, 3] = 20 * sign, 20 * sign
    geometry = Geometry(affine, (1, 41, 41))
    image, array = np.full((1, 1, 41, 41), 90, np.float32), np.zeros((1, 41, 41), np.float32)
    column, row = (round(i) for i in (np.linalg.inv(affine) @ (-14, 14, 0, 1))[:2])
    image[0, 0, row - 2 : row + 3, column - 2 : column + 3] = 201
    column, row = (round(i) for i in (np.linalg.inv(affine) @ (14, -5, 0, 1))[:2])
    array[0, row - 2 : row + 3, column - 2 : column + 3] = 1
    shown, lesion = difference(tmp_path, geometry, image, array)
    bright = (shown == 201).all(axis=2)
    assert bright.sum() > 300
    mark, spot = (np.median(np.argwhere(where), axis=0) for where in (bright, lesion))
    assert mark[0] < spot[0] - 50
    assert mark[1] > spot[1] + 50


def test_sides_are_those_of_the_patient() -> None:
    expected = {"axial": ("R", "A"), "feet_first": ("R", "A"), "sagittal": ("A", "S"), "coronal": ("R", "S")}
    for name, letters in expected.items():
        for geometry in (GEOMETRIES[name], Orientation(flips=(True, False, True)).turn(GEOMETRIES[name])):
            assert side_letters(orientation_towards(geometry, "native").turn(geometry)) == letters


def test_montage_keeps_the_shape_of_pixels_twice_as_high(tmp_path: Path) -> None:
    geometry = Geometry(np.diag([-1.0, -2.0, 1.0, 1.0]), (1, 20, 40))
    array = np.zeros((1, 20, 40), np.float32)
    array[0, 5:15, 10:30] = 1  # 20 mm x 20 mm
    _, lesion = difference(tmp_path, geometry, np.zeros((1, 1, 20, 40), np.float32), array)
    height, width = np.ptp(np.argwhere(lesion), axis=0)
    assert abs(height / width - 1) < 0.05


def test_montage_has_no_text_and_does_not_change(tmp_path: Path) -> None:
    geometry = GEOMETRIES["sheared"]
    for name in ("one.png", "two.png"):
        write_montage_png(tmp_path / name, grey(geometry), blob(geometry, LESION), geometry, SCALE, count=4)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert set(picture.info) <= {"dpi"}


def test_montage_of_colour_volumes_keeps_the_colours(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    image = np.zeros((3, *SHAPE), np.float32)
    image[1] = 200
    write_montage_png(tmp_path / "green.png", image, EMPTY, geometry, SCALE)
    green = (pixels(tmp_path / "green.png") == (0, 200, 0)).all(axis=2)
    assert green.mean() > 0.2


def test_a_montage_shows_that_slices_were_not_examined(tmp_path: Path) -> None:
    geometry, hidden = GEOMETRIES["axial"], np.zeros(SHAPE, bool)
    image, array = np.full((1, *SHAPE), 90, np.float32), blob(GEOMETRIES["axial"], LESION)
    hidden[:3] = True
    write_montage_png(tmp_path / "some.png", image, array, geometry, SCALE, (0, 255), 3, hidden=hidden)
    write_montage_png(tmp_path / "all.png", image, array, geometry, SCALE, (0, 255), 3)
    some, every = pixels(tmp_path / "some.png"), pixels(tmp_path / "all.png")
    assert (every == 90).all(axis=2).mean() > 0.1
    stripe, dim = (round(0.45 * 90 + 20 + more) for more in (70, 0))
    for value in (stripe, dim):
        assert (some == value).all(axis=2).sum() > 500
        assert (every == value).all(axis=2).sum() < 100
    assert in_ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert in_ranges([]) == ""
