"""Generated lesions and shifts with known places and values, and the tables of a study by hand."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from toy_run import toy_run

from medood.benchmarking.blind_spot.changes import Changed, Picture, body_of
from medood.benchmarking.blind_spot.lesions import blob
from medood.benchmarking.blind_spot.report import cases_csv, study_tables
from medood.benchmarking.blind_spot.shifts import SHIFTS
from medood.benchmarking.blind_spot.study import Case, Study, thinned
from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.geometry import Geometry
from medood.core.volume import Entry, Index, Volume
from medood.export.tables import Number, Table, as_text
from medood.scoring.rows import Scorer
from medood.sources.folder import Folder

SIDE = 64


def head(outside: float | None = 0.0) -> Picture:
    """A disc of noise off the centre, on exactly `outside`, or on darker noise."""
    y, x = np.ogrid[:SIDE, :SIDE]
    body = (y - 28) ** 2 + (x - 36) ** 2 < 20**2
    random = np.random.default_rng(0)
    around = 0.1 * random.random((1, SIDE, SIDE)) if outside is None else np.full((1, SIDE, SIDE), outside)
    return Picture(np.where(body, 2 + random.random((1, SIDE, SIDE)), around).astype(np.float32), body, outside)


class Memory:
    """One volume of three slices of a head."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def index(self) -> Index:
        return Index(Path(), (Entry("a", (), "a", 3),))

    def read(self, entry: Entry) -> Volume:
        image = np.stack([self.picture.image] * 3, 1)
        return Volume(entry, image, Geometry(np.eye(4), image.shape[1:]), np.zeros(3, np.int8))


def test_a_blob_is_centred_on_the_pixel_that_was_drawn() -> None:
    """Half-way to the middle of the image, as in the reference, the places would scatter half as far."""
    flat = Picture(np.zeros((1, SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), bool), None)
    ramp = replace(flat, image=np.tile(np.linspace(-1, 1, SIDE, dtype=np.float32), (1, SIDE, 1)))
    places = []
    for seed in range(300):
        added = (blob(ramp, np.random.default_rng(seed)) - ramp.image)[0]
        row, column = np.unravel_index(added.argmax(), added.shape)
        places.append((row, column))
        assert tuple(np.random.default_rng(seed).choice(np.argwhere(ramp.body))) == (row, column)
        for step in range(1, min(row, SIDE - 1 - row) + 1):
            assert added[row - step, column] == pytest.approx(added[row + step, column], rel=1e-3, abs=1e-6), "alike to both sides"
    assert np.std(places, 0) == pytest.approx(SIDE / np.sqrt(12), rel=0.15)


def test_a_blob_is_as_high_and_wide_as_the_paper_has_it() -> None:
    picture = head()
    deviation = picture.values.std()
    pixel = SIDE / 128
    heights = []
    for seed in range(60):
        added = (blob(picture, np.random.default_rng(seed)) - picture.image)[0]
        assert (added[~picture.body] == 0).all()
        height = added.max() / deviation
        sigma = np.sqrt(1000 / (2 * np.pi * height))  # in 128ths
        heights.append(round(sigma))
        assert sigma == pytest.approx(round(sigma), rel=1e-3)
        row, column = np.unravel_index(added.argmax(), added.shape)
        if column + 2 < SIDE and picture.body[row, column + 2]:
            assert added[row, column + 2] == pytest.approx(added.max() * np.exp(-((2 / pixel) ** 2) / (2 * sigma**2)), rel=1e-3)
    assert (min(heights), max(heights)) == (4, 10)


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("outside", [0.0, -3.5, None])
def test_a_shift_changes_the_image_and_nothing_else(name: str, outside: float | None) -> None:
    picture = head(outside)
    given = picture.image.copy()
    made = SHIFTS[name](picture, np.random.default_rng(1))
    assert made.shape == given.shape
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert np.array_equal(picture.image, given)
    assert np.abs(made - given)[0][picture.body].mean() > 0.05
    assert np.array_equal(made, SHIFTS[name](picture, np.random.default_rng(1))), "the same chance, the same image"
    if outside is not None and name in ("inverted grey", "noise", "bias field", "motion", "ghosting"):
        assert (made[0][~picture.body] == outside).all()


def test_turning_and_inverting_are_undone_by_themselves() -> None:
    picture, random = head(), np.random.default_rng(0)
    for name in ("upside down", "mirrored", "inverted grey"):
        once = SHIFTS[name](picture, random)
        turned = replace(picture, image=once, body=once[0] != 0)
        np.testing.assert_allclose(SHIFTS[name](turned, random), picture.image, atol=1e-5)
    assert np.array_equal(SHIFTS["upside down"](picture, random)[0], picture.image[0][::-1])
    assert np.array_equal(SHIFTS["mirrored"](picture, random)[0], picture.image[0][:, ::-1])
    turned = SHIFTS["turned by 90 degrees"](picture, random)[0]
    assert any(np.array_equal(turned, np.rot90(picture.image[0], way)) for way in (1, 3))


def test_noise_and_ghosts_are_as_large_as_they_say() -> None:
    picture = head()
    noise = (SHIFTS["noise"](picture, np.random.default_rng(0)) - picture.image)[0][picture.body]
    assert noise.std() == pytest.approx(0.5 * picture.values.std(), rel=0.1)
    point = Picture(np.zeros((1, SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), bool), None)
    point.image[0, 20, 30] = 1
    ghost = SHIFTS["ghosting"](point, np.random.default_rng(0))[0]
    assert ghost[20, 30] == pytest.approx(0.7, abs=1e-4), "what every second line keeps, and all of the others"
    assert ghost[20 + SIDE // 2, 30] == pytest.approx(0.3, abs=1e-4)
    assert np.count_nonzero(ghost > 1e-3) == 2


def test_a_motion_without_motion_would_change_nothing() -> None:
    picture = head()
    moved = SHIFTS["motion"](picture, np.random.default_rng(3))[0]
    unlike = np.abs(moved - picture.image[0])[picture.body].mean()
    assert 0.05 < unlike < picture.values.mean()


def test_the_same_seed_changes_the_same_slice_in_the_same_way() -> None:
    source = Memory(head())
    (entry,) = source.index().entries
    one, again = (Changed(source, "noise", SHIFTS["noise"], 0).read(entry).image for _ in range(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one[:, 0], one[:, 1]), "every slice by a chance of its own"
    assert not np.array_equal(one, Changed(source, "noise", SHIFTS["noise"], 1).read(entry).image)
    other = Changed(source, "noise", SHIFTS["noise"], 0).read(replace(entry, id="b")).image
    assert not np.array_equal(one, other)


def test_empty_slices_stay_as_they_are() -> None:
    picture = head()
    source = Memory(picture)
    (entry,) = source.index().entries
    volume = source.read(entry)
    volume.image[:, 1] = 0
    source.read = lambda entry: volume  # type: ignore[method-assign]
    made = Changed(source, "photograph", SHIFTS["photograph"], 0).read(entry).image
    assert (made[:, 1] == 0).all()
    assert not (made[:, 0] == volume.image[:, 0]).all()


def test_the_body_is_found_with_and_without_an_exact_outside() -> None:
    for outside in (0.0, -3.5, None):
        picture = head(outside)
        volume = Memory(picture).read(Entry("a", (), "a", 3))
        body, found = body_of(volume)
        assert found == outside
        assert (body[1] == picture.body).mean() > (0.98 if outside is None else 0.9999)


def case(kind: str, name: str, group: int, decision: str, score: float, rule: str = "normal") -> Case:
    return Case(kind, name, f"{group}.png", None, str(group), decision, rule, {"score": score, "rec": -score})  # type: ignore[arg-type]


def cases() -> list[Case]:
    return [
        *(case("normal", "normal", n, "normal" if n else "anomalous", 0.1 * n) for n in range(4)),
        *(case("lesion", "generated lesion", n, "anomalous", 0.25 + 0.1 * n, "anomalous") for n in range(4)),
        *(case("shift", "noise", n, "out_of_domain", 0.05 + 0.05 * n, "out_of_domain") for n in range(4)),
        *(case("shift", "upside down", n, "normal", 5.0 + n) for n in range(4)),
    ]


def values(table: Table, block: int = 0) -> dict[str, list[float | str | None]]:
    return {row.name: [each.value if isinstance(each, Number) else each for each in row.cells] for row in table.blocks[block].rows}


def test_the_table_of_outcomes_counts_what_was_decided() -> None:
    outcomes, _, _ = study_tables(cases(), ["a note"], "run")
    by_run, by_rule = values(outcomes), values(outcomes, 1)
    assert by_run == {
        "normal (4)": [0.75, 0.25, 0.0],
        "lesion (4)": [0.0, 1.0, 0.0],
        "shift (8)": [0.5, 0.0, 0.5],
        "shift: noise (4)": [0.0, 0.0, 1.0],
        "shift: upside down (4)": [1.0, 0.0, 0.0],
    }
    assert by_rule["normal (4)"] == [1.0, 0.0, 0.0]
    assert by_rule["shift (8)"] == [0.5, 0.0, 0.5]
    assert "a note" in as_text(outcomes)
    no_rule = study_tables([replace(each, rule="") for each in cases()], [], "run")[0]
    assert len(no_rule.blocks) == 1


def test_the_aurocs_are_those_of_scikit_learn() -> None:
    _, aurocs, failures = study_tables(cases(), [], "run")
    normal = [0.0, 0.1, 0.2, 0.3]
    lesion, noise, flipped = [0.25, 0.35, 0.45, 0.55], [0.05, 0.1, 0.15, 0.2], [5.0, 6.0, 7.0, 8.0]

    def of(negative: list[float], positive: list[float]) -> float:
        return float(roc_auc_score([0] * len(negative) + [1] * len(positive), negative + positive))

    expected = [of(normal, lesion), of(normal, noise + flipped), of(lesion, noise + flipped), of(normal, noise), of(normal, flipped)]
    assert aurocs.columns == ("lesion", "shift", "shift against lesion", "noise", "upside down")
    found = values(aurocs)
    assert found["score"] == pytest.approx(expected)
    assert found["rec"] == pytest.approx([1 - value for value in expected])
    assert values(failures) == {"score": ["1 of 2", "noise .44"], "rec": ["2 of 2", "upside down .00, noise .56"]}


def test_every_image_is_in_the_file_of_cases() -> None:
    rows = list(csv.DictReader(io.StringIO(cases_csv(cases()))))
    assert len(rows) == 16
    assert rows[5] == {
        "kind": "lesion",
        "name": "generated lesion",
        "id": "1.png",
        "slice": "",
        "group": "1",
        "decision": "anomalous",
        "rule": "anomalous",
        "score": "0.35",
        "rec": "-0.35",
    }


def pictures(folder: Path, count: int) -> Path:
    """Grey pictures, a brighter disc on each."""
    folder.mkdir()
    for number in range(count):
        picture = head(None)
        grey = np.where(picture.body, 60 + 5 * number + 20 * picture.image[0], 10)
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"{number:02d}.png")
    return folder


def test_a_study_scores_the_same_images_in_every_way(tmp_path: Path) -> None:
    source = Folder(pictures(tmp_path / "images", 5))
    index = source.index()
    study = Study(Scorer(toy_run(tmp_path), "cpu", None), source, index, 0, Console())  # type: ignore[arg-type]
    study.add_generated(["inverted grey", "noise"])
    study.add_shifted("mine", source, thinned(index, 2).entries)
    counts = {
        name: sum(each.name == name for each in study.cases) for name in ("normal", "generated lesion", "inverted grey", "noise", "mine")
    }
    assert counts == {"normal": 5, "generated lesion": 5, "inverted grey": 5, "noise": 5, "mine": 2}
    score = {(each.name, each.id): each.statistics["score"] for each in study.cases}
    for entry in index.entries:
        assert score["generated lesion", entry.id] > score["normal", entry.id], "a blob is bright"
    assert [score["mine", name] for name in ("00.png", "02.png")] == [score["normal", name] for name in ("00.png", "02.png")]
    assert study.notes == ["No label says which images are normal: all are taken to be."]


def test_labelled_images_are_lesions_and_no_normal_one_is_refused(tmp_path: Path) -> None:
    root = pictures(tmp_path / "images", 4)
    (root / "table.csv").write_text(
        "path,group,label,part\n" + "".join(f"{n:02d}.png,{n},{int(n > 1)},test\n" for n in range(4)), encoding="utf-8"
    )
    source = Folder(root, csv="table.csv")
    scorer = Scorer(toy_run(tmp_path), "cpu", None)  # type: ignore[arg-type]
    study = Study(scorer, source, source.index(), 0, Console())
    assert [(each.kind, each.id) for each in study.cases] == [
        ("normal", "00.png"),
        ("normal", "01.png"),
        ("lesion", "02.png"),
        ("lesion", "03.png"),
    ]
    ill = replace(source.index(), entries=source.index().entries[2:])
    with pytest.raises(MedoodError, match="no normal image is left"):
        Study(scorer, source, ill, 0, Console())
