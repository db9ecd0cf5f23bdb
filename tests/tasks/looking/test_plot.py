"""The figures of a run: the right images in the right places, with the scores of scores.csv."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from seeds import shifted
from typer.testing import CliRunner

from medood.cli import app
from medood.core.errors import InputError, MedoodError, RunError
from medood.core.map_scale import MapScale
from medood.core.volume import Entry, Source, Volume
from medood.evaluation.cases import evenly
from medood.evaluation.label_file import write_labels
from medood.export.colours import blend, heat
from medood.export.image_figures import picture_of
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run
from medood.sources.folder import Folder
from medood.sources.phantoms.phantom import Phantom
from medood.tasks.looking import plot as task
from medood.tasks.looking.plot import plot
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe
from medood.transforms.pipeline import Pipeline

SKIN = """
source: {name: phantom, kind: skin, subjects: 62, lesions: 0.25, size: 48}
transforms: {name: isic_image, size: [32, 32]}
detector: {name: cvad, width: 4, latent: 4, branch_width: 4, generator_epochs: 3, discriminator_epochs: 2}
training: {tensorboard: false, batch_size: 8}
split: {held_out: 0.5}
"""
BRAINS = """
source: {name: phantom, subjects: 4, lesions: 0.5, size: 32, slices: 16, seed: 3}
transforms: {name: brats_flair, size: [32, 32], field_of_view: null}
detector: {name: deep_svdd, width: 2, code: 16}
training: {tensorboard: false, epochs: 1}
split: {held_out: 0.5}
calibration: {false_alarm_rate: 0.2}
"""


class Drawn:
    """What `plot` drew, by the name of the figure; its files are written into `folder` when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saves = False
        self.figures: dict[str, Figure] = {}

    def __call__(self, run: Path, *folders: Path, saves: bool = False, **options: Any) -> list[Path]:
        self.figures.clear()
        self.saves = saves
        return plot(run, folders, self.folder, device="cpu", **options)

    def pictures(self, name: str) -> list[list[tuple[str, np.ndarray]]]:
        """Title and pixels of the pictures of a figure, column by column."""
        frames = [ax for ax in self.figures[name].axes if ax.images]
        return [
            [(ax.get_title(), ax.images[0].get_array()) for ax in frames if ax.get_subplotspec().colspan.start == column]
            for column in sorted({ax.get_subplotspec().colspan.start for ax in frames})
        ]

    def headings(self) -> list[str]:
        """Of the columns of the figure of scores."""
        return [text.get_text() for ax in self.figures["scores"].axes for text in ax.texts]


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    drawn, save = Drawn(tmp_path / "plots"), task.save_figure

    def keep(figure: Figure, folder: Path, name: str) -> list[Path]:
        drawn.figures[name] = figure
        return save(figure, folder, name) if drawn.saves else []

    monkeypatch.setattr(task, "save_figure", keep)
    return drawn


def trained(recipe: str, folder: Path) -> Path:
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return train_recipe(
        load_recipe(folder / "recipe.yaml", [f"seed={shifted(0)}"]), folder / "run", data=None, device="cpu", cache=folder / "cache"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(SKIN, tmp_path_factory.mktemp("skin"))


@pytest.fixture(scope="module")
def svdd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(BRAINS, tmp_path_factory.mktemp("brain"))


def opened(run: Path) -> Phantom:
    """The source that a run was trained on."""
    _, parameters = load_run(run).recipe.choice("source")
    return Phantom(**parameters)


def by_pixels(run: Path, source: Source) -> dict[bytes, tuple[str, str]]:
    """Id and slice, as in scores.csv, of every image of a source, by its picture."""
    pipeline = Pipeline(load_run(run).recipe.transforms)
    found = {}
    for entry in source.index().entries:
        prepared = pipeline.prepare(source.read(entry))
        for image, number in zip(prepared.images, prepared.slices, strict=True):
            found[picture_of(image, 0, 1).tobytes()] = entry.id, "" if entry.slices == 1 else str(number)
    return found


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def scores_of(run: Path, folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Rows of scores.csv of the run's own source by id and slice, series and skipped slices left out."""
    score_folder(run, folder, folder / "scores.csv", source="phantom", device="cpu")
    rows = [row for row in rows_of(folder / "scores.csv") if row["level"] != "series" and row["status"] == "ok"]
    return {(row["id"], row["slice"]): row for row in rows}


def labels_of(source: Source, folder: Path) -> dict[tuple[str, str], str]:
    write_labels(source, folder / "labels.csv")
    return {(row["id"], row["slice"]): row["label"] for row in rows_of(folder / "labels.csv")}


def assert_from_lowest_to_highest(drawn: Drawn, run: Path, folder: Path, source: Source, rows: int) -> None:
    """Every picture has the score and decision of its own row of scores.csv, its class, and its rank in the class."""
    scored, labels, known = scores_of(run, folder), labels_of(source, folder), by_pixels(run, source)
    headings = drawn.headings()
    assert [heading.split("\n")[0] for heading in headings] == ["normal", "anomalous"]
    for label, (heading, column) in enumerate(zip(headings, drawn.pictures("scores"), strict=True)):
        members = sorted((key for key in scored if labels[key] == str(label)), key=lambda key: float(scored[key]["score"]))
        assert heading.split("\n")[1] == f"{len(members)} images"
        wanted = [round(k * (len(members) - 1) / (rows - 1)) for k in range(rows)]
        assert [members.index(known[pixels.tobytes()]) for _, pixels in column] == wanted
        for title, pixels in column:
            row = scored[known[pixels.tobytes()]]
            score, decision = title.split(", called ")
            assert float(score) == pytest.approx(float(row["score"]), rel=6e-4)
            assert decision == row["decision"]


def test_without_a_folder_there_are_training_curves_alone(run: Path, draw: Drawn) -> None:
    written = draw(run, saves=True)
    assert [path.name for path in written] == ["training.png", "training.svg"] == sorted(p.name for p in draw.folder.iterdir())
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    axes = draw.figures["training"].axes
    assert [ax.get_title() for ax in axes] == ["Phase generator", "Phase discriminator"]
    for ax, phase in zip(axes, ("generator", "discriminator"), strict=True):
        epochs = [line for line in lines if line["phase"] == phase]
        curves = {line.get_label(): line.get_xydata() for line in ax.lines}
        for name in epochs[0]["losses"]:
            np.testing.assert_array_equal(curves.pop(name), [(e["epoch"], e["losses"][name]) for e in epochs])
        np.testing.assert_array_equal(curves.pop("held-out normal images"), [(e["epoch"], e["validation"]) for e in epochs])
        best = min(epochs, key=lambda e: e["validation"])["epoch"]
        (mark,) = curves
        assert mark == f"epoch that was kept ({best})"
        assert curves[mark][:, 0].tolist() == [best, best]


def history(folder: Path, *lines: dict[str, Any]) -> None:
    whole = [{"epoch": number, "losses": {}, "validation": None} | line for number, line in enumerate(lines, 1)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in whole))


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A run whose history may be changed."""
    return Path(shutil.copytree(run, tmp_path / "copied"))


def test_curves_have_gaps_signs_and_scales_as_they_come(copied: Path, draw: Drawn) -> None:
    history(
        copied,
        {"phase": "a", "losses": {"small": 0.01, "large": 9.0}},
        {"phase": "a", "losses": {"large": 8.0}, "validation": 0.5},
        {"phase": "a", "losses": {"small": 0.02, "large": 7.0}, "validation": 0.5},
        {"phase": "b", "losses": {"distance": -3.0}},
        {"phase": "b", "losses": {"distance": 50.0}},
        {"phase": "closed"},
    )
    draw(copied)
    first, second = draw.figures["training"].axes
    curves = {line.get_label(): line.get_xydata().tolist() for line in first.lines}
    assert curves["small"] == [[1, 0.01], [3, 0.02]]
    assert curves["held-out normal images"] == [[2, 0.5], [3, 0.5]]
    assert "epoch that was kept (2)" in curves, "of equals the first is kept"
    assert (first.get_yscale(), second.get_yscale()) == ("log", "linear")
    assert [line.get_label() for line in second.lines] == ["distance", "epoch that was kept (5)"]


def test_images_stand_in_the_column_of_their_class_by_their_score(run: Path, draw: Drawn, tmp_path: Path) -> None:
    written = draw(run, tmp_path, source="phantom", rows=3, saves=True)
    names = ("training", "scores", "histogram", "reconstructions")
    assert [path.name for path in written] == [f"{name}.{kind}" for name in names for kind in ("png", "svg")]
    assert_from_lowest_to_highest(draw, run, tmp_path, opened(run), rows=3)
    threshold = load_run(run).calibration["image"]["threshold"]
    assert f"{threshold:.4g}" in draw.figures["scores"].get_supxlabel()


def test_the_histogram_has_all_scores_of_each_class_and_the_threshold(run: Path, draw: Drawn, tmp_path: Path) -> None:
    draw(run, tmp_path, write_pictures(tmp_path / "others", 3), source="phantom")
    (ax,) = draw.figures["histogram"].axes
    scored, labels = scores_of(run, tmp_path), labels_of(opened(run), tmp_path)
    counts = Counter("normal" if labels[key] == "0" else "anomalous" for key in scored)
    threshold = load_run(run).calibration["image"]["threshold"]
    texts = [f"normal (n = {counts['normal']})", f"anomalous (n = {counts['anomalous']})", "others (n = 3)"]
    assert [text.get_text() for text in ax.get_legend().texts] == [*texts, f"threshold of the run ({threshold:.4g})"]
    assert ax.lines[0].get_xdata() == [threshold, threshold]
    assert len(ax.patches) == 3
    assert all(0 < outline.get_xy()[:, 1].max() <= 1 for outline in ax.patches)


def test_images_that_a_detector_made_more_normal_stand_beside_them(
    run: Path, draw: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(load_run(run).detector)
    monkeypatch.setattr(kind, "_made_normal", lambda self, image: self.spec.low + self.spec.high - image)
    draw(run, tmp_path, source="phantom")
    made, images = draw.pictures("made_normal")
    known = by_pixels(run, opened(run))
    assert len(made) == len(images) == 2
    assert made[0][0] == "made more normal"
    for (_, changed), (_, image) in zip(made, images, strict=True):
        assert image.tobytes() in known
        assert np.abs(changed.astype(int) + image - 255).max() <= 1


def test_slices_are_the_images_of_volumes_and_have_their_own_labels(svdd: Path, draw: Drawn, tmp_path: Path) -> None:
    draw(svdd, tmp_path, source="phantom", rows=4)
    assert_from_lowest_to_highest(draw, svdd, tmp_path, opened(svdd), rows=4)


def test_a_detector_that_does_not_reconstruct_says_so(svdd: Path, draw: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(svdd, tmp_path, source="phantom")
    assert sorted(draw.figures) == ["histogram", "scores", "training"]
    assert "deep_svdd does not reconstruct images" in capsys.readouterr().err


def assert_same_picture(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for rounding: another batch moves a value over the edge of a grey level, or of the coloured part, now and then."""
    assert found.shape == expected.shape
    assert (np.abs(found.astype(int) - expected.astype(int)) > 1).mean() < 0.01


def test_reconstructions_are_those_of_the_detector_for_the_middle_of_each_class(run: Path, draw: Drawn, tmp_path: Path) -> None:
    draw(run, tmp_path, source="phantom")
    columns = draw.pictures("reconstructions")
    assert [column[0][0] for column in columns] == ["x2' (branch)", "x1' (main VAE)", "x' (both)", "x (input)", "score map"]
    loaded, source = load_run(run), opened(run)
    scored, labels, known = scores_of(run, tmp_path), labels_of(source, tmp_path), by_pixels(run, source)
    scale = MapScale(**loaded.calibration["image"]["map_scale"])
    side = [ax.get_ylabel() for ax in draw.figures["reconstructions"].axes if ax.get_ylabel()]
    reconstructions: list[np.ndarray] = []
    for label, title in enumerate(("normal", "anomalous")):
        members = sorted((key for key in scored if labels[key] == str(label)), key=lambda key: float(scored[key]["score"]))
        shown = [column[label][1] for column in columns]
        middle = members[(len(members) - 1) // 2]
        assert known[shown[3].tobytes()] == middle
        kind, verdict = side[label].split("\n")
        assert kind == title
        assert float(verdict.split(",")[0]) == pytest.approx(float(scored[middle]["score"]), rel=6e-4)
        entry = next(entry for entry in source.index().entries if entry.id == middle[0])
        image = torch.from_numpy(Pipeline(loaded.recipe.transforms).prepare(source.read(entry)).images)
        made = [values[0].numpy() for values in loaded.detector.reconstructions(image).values()]
        for pixels, values in zip(shown, made, strict=False):
            assert_same_picture(pixels, picture_of(values, 0, 1))
        reconstructions += made
        heatmap = loaded.detector.score(image).map
        assert_same_picture(shown[4], blend(shown[3], heat(heatmap[0, 0].numpy(), scale)))
    assert len({values.tobytes() for values in reconstructions}) == 6, "they would all pass if they were all the same"


def write_pictures(folder: Path, count: int, kind: str = "skin", start: int = 0) -> Path:
    """RGB pictures of skin, or grey ones of noise of another size."""
    folder.mkdir(parents=True)
    source = Phantom(kind="skin", subjects=start + count, size=48, lesions=0.0, seed=5)
    for entry in source.index().entries[start:]:
        number = int(entry.id[-4:])
        grey = np.random.default_rng(number).integers(0, 255, (60, 40)).astype(np.uint8)
        pixels = source.read(entry).image[:, 0].transpose(1, 2, 0).astype(np.uint8) if kind == "skin" else grey
        Image.fromarray(pixels).save(folder / f"SECRET_{number}.png")
    return folder


def write_table(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Columns path, label and part; a file is a patient."""
    path.write_text("path,group,label,part\n" + "".join(f"{name},{name},{label},{part}\n" for name, label, part in rows))
    return path


def test_a_part_of_a_table_and_further_folders_are_columns(run: Path, draw: Drawn, tmp_path: Path) -> None:
    first, second = write_pictures(tmp_path / "a" / "test", 8), write_pictures(tmp_path / "b" / "test", 5, kind="grey")
    rows = [(f"SECRET_{n}.png", str(int(n > 4)), "test" if n else "train") for n in range(8)]
    write_table(first / "table.csv", rows)
    draw(run, first, second, table="table.csv", part="test", rows=2)
    assert draw.headings() == ["normal\n4 images", "anomalous\n3 images", "b/test\n5 images"]
    columns = draw.pictures("scores")
    known = by_pixels(run, task.open_source("folder", first))
    assert {known[pixels.tobytes()][0] for _, pixels in columns[0]} <= {f"SECRET_{n}.png" for n in (1, 2, 3, 4)}
    assert {known[pixels.tobytes()][0] for _, pixels in columns[1]} <= {f"SECRET_{n}.png" for n in (5, 6, 7)}
    assert {pixels.shape for column in columns for _, pixels in column} == {(32, 32, 3)}
    assert all((pixels == pixels[..., :1]).all() for _, pixels in columns[2])
    assert not any((pixels == pixels[..., :1]).all() for column in columns[:2] for _, pixels in column)
    draw.figures["scores"].draw_without_rendering()
    sizes = {tuple(np.round(ax.get_window_extent().size)) for ax in draw.figures["scores"].axes if ax.images}
    assert len(sizes) == 1
    draw(run, second, first)
    assert draw.headings() == ["b/test\n5 images", "a/test\n8 images"]
    draw(run, second, Path(shutil.copytree(first, tmp_path / "normal")))
    assert draw.headings() == ["b/test\n5 images", f"{tmp_path.name}/normal\n8 images"], "it could be taken for a label"


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_no_id_is_on_a_figure(run: Path, draw: Drawn, tmp_path: Path) -> None:
    written = draw(run, write_pictures(tmp_path / "images", 3), saves=True)
    assert "images" in texts(draw.figures["scores"])
    assert not any("SECRET" in texts(figure) for figure in draw.figures.values())
    assert not any(b"SECRET" in path.read_bytes() for path in written)


def test_labels_from_a_file_are_about_the_first_folder(run: Path, draw: Drawn, tmp_path: Path) -> None:
    first = write_pictures(tmp_path / "images", 6)
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\nSECRET_1.png,0\nSECRET_2.png,1\nSECRET_3.png,1\nSECRET_5.png,\n")
    draw(run, first, write_pictures(tmp_path / "others", 2), labels=labels)
    assert draw.headings() == ["normal\n1 image", "anomalous\n2 images", "others\n2 images"]
    known = by_pixels(run, task.open_source("folder", first))
    assert [{known[pixels.tobytes()][0] for _, pixels in column} for column in draw.pictures("scores")[:2]] == [
        {"SECRET_1.png"},
        {"SECRET_2.png", "SECRET_3.png"},
    ]
    labels.write_text("id,label\nimages/SECRET_1.png,0\n")
    with pytest.raises(MedoodError, match="No label belongs to an image"):
        draw(run, first, labels=labels)


def test_one_class_with_fewer_images_than_rows_shows_each_once(run: Path, draw: Drawn, tmp_path: Path) -> None:
    draw(run, write_pictures(tmp_path / "few", 2), rows=4)
    (column,) = draw.pictures("scores")
    assert draw.headings() == ["few\n2 images"]
    assert len({pixels.tobytes() for _, pixels in column}) == len(column) == len(draw.figures["scores"].axes) == 2
    first, second = (float(title.split(",")[0]) for title, _ in column)
    assert first <= second


def test_of_a_large_folder_evenly_spaced_images_are_scored(
    run: Path, draw: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = Phantom.read
    monkeypatch.setattr(Phantom, "read", lambda self, entry: (read.append(entry.id), real(self, entry))[1])
    draw(run, tmp_path, source="phantom", limit=4, rows=2)
    assert sorted(set(read)) == [f"skin_{n:04d}" for n in (0, 20, 41, 61)]
    said = capsys.readouterr().err
    assert "4 of 62 series or images are looked at" in said
    assert re.search(r"[1-4] images have the ids of images that .* was trained or calibrated on", said)


@pytest.mark.parametrize(
    ("length", "count", "chosen"),
    [(5, 9, [0, 1, 2, 3, 4]), (5, 5, [0, 1, 2, 3, 4]), (10, 4, [0, 3, 6, 9]), (7, 2, [0, 6]), (7, 1, [3]), (8, 1, [3]), (1, 1, [0])],
)
def test_evenly_takes_both_ends(length: int, count: int, chosen: list[int]) -> None:
    assert evenly(length, count) == chosen


def test_evenly_takes_nothing_twice() -> None:
    for length in range(1, 60):
        for count in range(1, 60):
            taken = evenly(length, count)
            assert len(set(taken)) == len(taken) == min(length, count)


def test_what_cannot_be_scored_is_left_out_and_said(run: Path, draw: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_pictures(tmp_path / "images", 3)
    content = (folder / "SECRET_1.png").read_bytes()
    (folder / "SECRET_1.png").write_bytes(content[: len(content) // 2])
    draw(run, folder)
    assert draw.headings() == ["images\n2 images"]
    assert re.search("1 of 3 series or images could not be scored", capsys.readouterr().err)
    for name in ("SECRET_0.png", "SECRET_2.png"):
        (folder / name).unlink()
    with pytest.raises(MedoodError, match="not one image could be scored"):
        draw(run, folder)


def test_what_cannot_be_read_again_is_left_out_and_said(
    run: Path, draw: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are read to be scored, and those that are shown are read again."""
    folder, reads, gone = write_pictures(tmp_path / "images", 3), Counter(), {"SECRET_1.png"}
    real = Folder.read

    def read(self: Folder, entry: Entry) -> Volume:
        reads[entry.id] += 1
        if entry.id in gone and reads[entry.id] > 1:
            raise OSError("the disk was taken away")
        return real(self, entry)

    monkeypatch.setattr(Folder, "read", read)
    draw(run, folder)
    (column,) = draw.pictures("scores")
    assert len(column) == 2
    assert "could not be read again" in capsys.readouterr().err
    reads.clear()
    gone |= {"SECRET_0.png", "SECRET_2.png"}
    with pytest.raises(MedoodError, match="could be read again: SECRET"):
        draw(run, folder)


def test_text_in_the_pixels_is_warned_about(run: Path, draw: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dicom_writer import write_series

    pixels = np.random.default_rng(0).integers(0, 255, (1, 40, 40)).astype(np.uint8)
    for number, stated in enumerate(("NO", "YES")):
        folder = tmp_path / str(number)
        write_series(folder / "a", pixels, np.diag([-1.0, -1.0, 1.0, 1.0]), modality="MR", extra={"BurnedInAnnotation": stated})
        draw(run, folder)
        assert ("may have text in their pixels" in capsys.readouterr().err) == (stated == "YES")


def test_a_run_without_curves_still_shows_images(copied: Path, draw: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "history.jsonl").unlink()
    with pytest.raises(MedoodError, match="no training curves"):
        draw(copied)
    draw(copied, write_pictures(tmp_path / "images", 2))
    assert sorted(draw.figures) == ["histogram", "reconstructions", "scores"]
    assert "no training curves" in capsys.readouterr().err
    history(copied, {"phase": "closed"})
    with pytest.raises(MedoodError, match="no training curves"):
        draw(copied)


@pytest.mark.parametrize("line", ["[]", "{", '{"phase": "a", "epoch": 2, "losses": {"x": "much"}, "validation": null}', "\xff"])
def test_a_damaged_history_is_named_with_its_line(copied: Path, draw: Drawn, line: str) -> None:
    history(copied, {"phase": "a", "losses": {"x": 1.0}})
    with (copied / "history.jsonl").open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    with pytest.raises(InputError, match=r"history\.jsonl:2: "):
        draw(copied)


@pytest.mark.parametrize(
    ("folders", "options", "message"),
    [
        (["empty"], {}, "found no image"),
        (["nowhere"], {}, "there is no .*nowhere"),
        (["good", "empty"], {}, "empty: found no image"),
        (["good", "good/"], {}, "named twice"),
        (["good"], {"part": "test"}, "no image is in the part 'test'"),
        ([], {"part": "test"}, "name it after the run"),
        ([], {"labels": Path("labels.csv")}, "name it after the run"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(
    run: Path, draw: Drawn, tmp_path: Path, folders: list[str], options: dict[str, Any], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    write_pictures(tmp_path / "good", 1)
    with pytest.raises(MedoodError, match=message):
        draw(run, *(tmp_path / name for name in folders), **options)
    assert not draw.folder.exists()


def test_only_runs_are_drawn(draw: Drawn, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        draw(tmp_path)


def test_the_command_names_the_files_it_wrote(run: Path, tmp_path: Path) -> None:
    folder, out = write_pictures(tmp_path / "images", 3), tmp_path / "figures"
    write_table(folder / "t.csv", [(f"SECRET_{n}.png", str(n % 2), "test") for n in range(3)])
    options = ["--table", "t.csv", "--part", "test", "--rows", "2", "--limit", "3", "--out", str(out), "--device", "cpu"]
    result = CliRunner().invoke(app, ["plot", str(run), str(folder), *options])
    assert result.exit_code == 0, result.output
    assert all(
        f"{name}.{kind}" in result.output for name in ("training", "scores", "histogram", "reconstructions") for kind in ("png", "svg")
    )
    assert len(list(out.iterdir())) == 8


def test_the_same_run_gives_the_same_bytes(run: Path, draw: Drawn, tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", 4)
    first, second = ([path.read_bytes() for path in draw(run, images, rows=2, saves=True)] for _ in range(2))
    assert len(first) == 8
    assert first == second
