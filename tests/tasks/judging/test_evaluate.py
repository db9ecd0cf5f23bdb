"""Evaluation of written scores, labels, maps and masks whose numbers are known."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Geometry, photograph_geometry
from medood.evaluation.labelled_scores import read_labels
from medood.evaluation.report import Report
from medood.evaluation.report_tables import document
from medood.export.figures import (
    FrocPanel,
    PrecisionPanel,
    RocPanel,
    ScorePanel,
    froc_figure,
    precision_figure,
    roc_figure,
    save_figure,
    score_figure,
)
from medood.export.maps import read_map, write_map, write_png16
from medood.metrics.trivial import PLAIN_FEATURES
from medood.tasks.judging.evaluate import evaluate


def _write(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), restval="")
        table.writeheader()
        table.writerows(rows)
    return path


def _photographs(n: int = 120, seed: int = 0) -> tuple[list[dict], list[dict]]:
    """Rows of scores and labels of n photographs, two per patient; the score is good, `plain_p99` is noise, `plain_std` its shadow."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3 == 0
    scores = rng.normal(size=n) + 1.5 * labels
    plain = {name: rng.random(n) for name in PLAIN_FEATURES} | {"plain_std": scores * 2 + 1e-3 * rng.normal(size=n)}
    rows = [
        {"level": "image", "id": f"images/{i}.png", "slice": "", "group": f"g{i // 2}", "score": repr(float(scores[i])), "status": "ok"}
        | {"decision": "anomalous" if scores[i] > 1.2 else "normal", "part_half": scores[i] / 2}
        | {name: values[i] for name, values in plain.items()}
        for i in range(n)
    ]
    return rows, [{"id": f"images/{i}.png", "label": int(labels[i])} for i in range(n)]


def _evaluate(tmp_path: Path, scores: list[dict], labels: list[dict] | None, *, facts: dict | None = None, **more) -> Report:
    known = {"run": "a_run", "detector": "toy", "threshold": 1.2, "false_alarm_rate": 0.05, "folder": "/somewhere/private"}
    (tmp_path / "scores.json").write_text(json.dumps(known | (facts or {})))
    labels_csv = _write(tmp_path / "labels.csv", labels) if labels is not None else None
    return evaluate(_write(tmp_path / "scores.csv", scores), labels_csv, out=tmp_path / "out", bootstraps=200, **more)


def _printed(report: Report) -> str:
    return document(report, "text", 200)


def test_numbers_of_one_level_are_those_of_scikit_learn(tmp_path):
    scores, labels = _photographs()
    report = _evaluate(tmp_path, scores, labels)
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found == json.loads(json.dumps(report.to_dict()))
    level = found["levels"]["image"]
    truth, values = np.array([row["label"] for row in labels]), np.array([float(row["score"]) for row in scores])
    assert (level["normal"], level["anomalous"], level["patients"]) == (80, 40, 60)
    assert level["score"]["auroc"]["value"] == pytest.approx(roc_auc_score(truth, values))
    assert level["score"]["average_precision"]["value"] == pytest.approx(average_precision_score(truth, values))
    assert level["run"]["tpr"]["value"] == pytest.approx((values[truth == 1] > 1.2).mean())
    assert level["run"]["fpr"]["value"] == pytest.approx((values[truth == 0] > 1.2).mean())
    assert level["run"]["threshold"] == 1.2
    oracle = level["oracle"]
    assert oracle["tpr"]["value"] == pytest.approx((values[truth == 1] > oracle["threshold"]).mean())
    for estimate in (level["score"]["auroc"], level["run"]["fpr"], oracle["tpr"], level["score"]["fpr_at_95_tpr"]):
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert estimate["low"] < estimate["high"]
    assert level["columns"]["part_half"]["auroc"] == level["score"]["auroc"]
    assert level["columns"]["part_half"]["difference"] == {"value": 0, "low": 0, "high": 0}
    assert found["run"] == {"run": "a_run", "detector": "toy", "threshold": 1.2, "false_alarm_rate": 0.05}
    assert "private" not in json.dumps(found)


def test_shortcuts_are_named(tmp_path):
    scores, labels = _photographs()
    for row, label in zip(scores, labels, strict=True):
        row["plain_bytes"] = 1000 - 500 * label["label"]  # small files are anomalous: a shortcut, in the other direction
    report = _evaluate(tmp_path, scores, labels)
    warnings = "\n".join(report.warnings)
    assert "plain_bytes (lower is anomalous) reaches AUROC 1.000 and is not beaten" in warnings
    assert "follows the trivial feature plain_std (Spearman correlation 1.00)" in warnings
    assert "plain_p99" not in warnings
    columns = report.levels[0].columns
    assert columns["plain_bytes"].auroc.value == 0
    assert columns["plain_bytes"].better_auroc.value == 1
    assert columns["plain_bytes"].difference.value == pytest.approx(report.levels[0].score.auroc.value - 1)
    assert columns["part_half"].better_auroc is None
    assert re.search(r"plain_bytes \(lower\) +1\.000 ", _printed(report))


def test_an_inverted_score_is_reported_as_it_is_and_loudly(tmp_path):
    scores, labels = _photographs()
    for row in scores:
        row["score"] = -float(row["score"])
    report = _evaluate(tmp_path, scores, labels)
    assert report.levels[0].score.auroc.value < 0.25
    assert any("NORMAL ROWS SCORE HIGHER" in text for text in report.warnings)
    assert report.levels[0].run.threshold is None  # the decisions in the table are not those of this threshold
    for row in scores:
        row["score"] = 1
    assert any("all 120 scores are the same" in text for text in _evaluate(tmp_path, scores, labels).warnings)


def test_whatever_finds_no_partner_is_counted(tmp_path):
    scores, labels = _photographs()
    scores[0] |= {"status": "error", "reason": "decode: broken file", "score": ""}
    scores.append(scores[5] | {"score": "1e6"})
    labels[1]["label"] = ""
    del labels[2]
    labels += [{"id": "images/elsewhere.png", "label": 1}, {"id": "images\\7.png", "label": labels[6]["label"]}]
    report = _evaluate(tmp_path, scores, labels)
    notes = "\n".join(report.notes)
    assert "1 rows without a label are left out" in notes
    assert "labels.csv: 1 repeated rows count once" in notes
    assert "1 repeated rows of the scores count once" in notes
    assert "1 labels have no row in the scores (the first: 'images/elsewhere.png')" in notes
    assert "1 labelled rows, 1 of them anomalous, have no score" in notes
    assert "decode: broken file" in notes
    assert "image: 117 of 120 rows are labelled and scored" in notes
    assert report.levels[0].normal + report.levels[0].anomalous == 117
    assert report.levels[0].rows.scores.max() < 10  # of repeated rows the first counts
    assert all(note in _printed(report).replace("\n", " ") for note in report.notes[:2])


def test_slices_and_series_are_matched_apart(tmp_path):
    rng = np.random.default_rng(0)
    scores, labels = [], []
    for number in range(8):
        anomalous = number % 2
        base = {"id": f"s{number}", "status": "ok"}
        for k in range(5):
            label = int(anomalous and k >= 3)
            scores.append({"level": "slice", "slice": k, "score": rng.normal() + 5 * label} | base)
            labels.append({"path": f"s{number}", "slice": f"{k}.0", "label": label, "group": f"patient {number // 2}"})
        scores.append({"level": "series", "score": rng.normal() + 9 * anomalous} | base)
        labels.append({"path": f"s{number}", "slice": "", "label": anomalous, "group": f"patient {number // 2}"})
    report = _evaluate(tmp_path, scores, labels)
    by_name = {level.level: level for level in report.levels}
    assert (by_name["slice"].normal, by_name["slice"].anomalous, by_name["slice"].patients) == (32, 8, 4)
    assert (by_name["series"].normal, by_name["series"].anomalous) == (4, 4)
    assert by_name["series"].score.auroc.value == 1
    assert by_name["series"].run is None  # no decision there, and the threshold of the run is one for images
    normal = [row["score"] for row, label in zip(scores, labels, strict=True) if row["level"] == "slice" and not label["label"]]
    assert by_name["slice"].run.fpr.value == pytest.approx(np.mean(np.array(normal) > 1.2))


def test_normals_alone_give_the_false_alarm_rate_and_no_ranking(tmp_path):
    scores, labels = _photographs()
    scores, labels = ([row for i, row in enumerate(rows) if i % 3] for rows in (scores, labels))
    report = _evaluate(tmp_path, scores, labels)
    level = report.levels[0]
    assert level.score is None
    assert level.run.tpr is None
    assert level.run.fpr.value == pytest.approx(np.mean([float(row["score"]) > 1.2 for row in scores]))
    assert "nothing can be ranked" in level.reason
    assert not (tmp_path / "out" / "roc.png").exists()
    assert (tmp_path / "out" / "scores.png").exists()


def test_labels_may_stand_in_the_scores(tmp_path):
    scores, labels = _photographs()
    beside = _evaluate(tmp_path, scores, labels)
    within = _evaluate(tmp_path, [row | {"label": label["label"]} for row, label in zip(scores, labels, strict=True)], None)
    assert within.levels[0].score == beside.levels[0].score
    with pytest.raises(InputError, match="column label is missing"):
        _evaluate(tmp_path, scores, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s, t: [row.update(id="x/" + row["id"]) for row in t],
            "for example 'images/0.png', the labels 'x/images/0.png'",
        ),
        (lambda s, t: t[4].update(label="tumour"), "labels.csv:6: a label must be 0"),
        (lambda s, t: t.append({"id": "images/0.png", "label": 0}), "labels.csv:122: 'images/0.png' has two different labels"),
        (lambda s, t: s[0].update(score="high"), "scores.csv:2: expected a number, found 'high'"),
        (lambda s, t: s[0].update(score="nan"), "not finite"),
        (lambda s, t: s[0].update(level="voxel"), "level must be one of image, slice, series"),
        (lambda s, t: [t[n].update(label="x") for n in (1, 5)], r"labels.csv:3: a label .*\n.*labels.csv:7: a label"),
        (lambda s, t: [row.update(group=f"p{n}", id="a.png", label=0) for n, row in enumerate(t[:2])], "'a.png' is of another group"),
        (lambda s, t: t[0].update(id=""), "labels.csv:2: the id is empty"),
        (
            lambda s, t: [row.update(status="error", score="", reason="broken") for row in s],
            "None of the 120 labelled rows has a score.*broken",
        ),
    ],
)
def test_mistakes_in_the_tables_are_explained(tmp_path, change, words):
    scores, labels = _photographs()
    change(scores, labels)
    with pytest.raises(MedoodError, match=words):
        _evaluate(tmp_path, scores, labels)
    assert not (tmp_path / "out" / "evaluation.json").exists()


def _volumes(tmp_path: Path, patients: int = 4) -> tuple[list[dict], list[dict], list[np.ndarray], list[np.ndarray]]:
    """Maps with planted lesions on disk, with tables; slice 0 is never scored, slice 3 is left out by its label."""
    rng = np.random.default_rng(0)
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    scores, labels, lines, maps, masks = [], [], [], [], []
    for number in range(patients):
        mask = np.zeros((6, 16, 20), dtype=np.uint8)
        mask[2:5, 4:8, 10:15] = 1
        found = (rng.normal(size=mask.shape) + 2.0 * mask).astype(np.float32)
        found[0] = 50 * (1 - mask[0])  # would spoil everything if it counted
        geometry = Geometry(affine, mask.shape)
        write_map(tmp_path / "maps" / f"{number}.nrrd", found, geometry)
        write_map(tmp_path / "maps" / f"{number}p.nrrd", -found, geometry)
        write_map(tmp_path / f"mask{number}.nrrd", mask, geometry)
        lines.append({"id": f"v{number}", "map": f"{number}.nrrd", "plain": f"{number}p.nrrd", "slices": [1, 2, 3, 4, 5]})
        for k in range(1, 6):
            scores.append({"level": "slice", "id": f"v{number}", "slice": k, "score": float(found[k].max()), "status": "ok"})
            label = "" if k == 3 else int(mask[k].any())
            labels.append({"id": f"v{number}", "slice": k, "label": label, "mask": f"mask{number}.nrrd"})
        maps.append(found[[1, 2, 4, 5]])
        masks.append(mask[[1, 2, 4, 5]])
    (tmp_path / "maps" / "maps.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return scores, labels, maps, masks


def test_maps_are_judged_on_labelled_scored_slices_alone(tmp_path):
    scores, labels, maps, masks = _volumes(tmp_path)
    report = _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")
    values, truth = np.concatenate(maps).ravel(), np.concatenate(masks).ravel()
    found = report.maps["map"]
    assert found.average_precision.value == pytest.approx(average_precision_score(truth, values), abs=1e-6)
    assert report.maps["plain"].average_precision.value == pytest.approx(average_precision_score(truth, -values), abs=1e-6)
    assert found.pixels == values.size
    assert found.lesions == 4  # slice 3 does not count, but still joins slices 2 and 4 into one lesion
    assert 0.5 < found.aupro.low < found.aupro.value <= 1
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())["maps"]["map"]
    assert stored["oracle_dice"]["value"] == found.oracle_dice.value
    assert "intensity as the map" in _printed(report)


def test_a_map_that_the_intensity_beats_is_called_out(tmp_path):
    scores, labels, _, _ = _volumes(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "maps" / "maps.jsonl").read_text().splitlines()]
    swapped = [line | {"map": line["plain"], "plain": line["map"]} for line in lines]
    (tmp_path / "maps" / "maps.jsonl").write_text("\n".join(json.dumps(line) for line in swapped))
    report = _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")
    assert any("the intensity itself reaches a pixel average precision" in text for text in report.warnings)
    (tmp_path / "maps" / "maps.jsonl").write_text("\n".join(json.dumps(line | {"plain": None}) for line in lines))
    report = _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")
    assert set(report.maps) == {"map"}
    assert "4 of 4 labelled entries have no plain on disk; `medood score --maps-with plain` writes it." in report.notes


def test_anomalous_slices_without_a_mask_do_not_count_for_the_maps(tmp_path):
    scores, labels, maps, _ = _volumes(tmp_path)
    for row in labels:
        if row["id"] == "v0":
            row["mask"] = ""
    report = _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")
    assert "2 anomalous slices have no mask and do not count for the maps." in report.notes
    assert report.maps["map"].pixels == sum(m.size for m in maps) - 2 * 16 * 20
    for row in labels:
        row |= {"mask": "", "label": 1}
    labels.append({"id": "v0", "slice": "", "label": 0})
    scores.append({"level": "series", "id": "v0", "slice": "", "score": 1, "status": "ok"})
    with pytest.raises(MedoodError, match="need a column `mask`"):
        _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")


def test_maps_of_another_run_than_the_scores_are_refused(tmp_path):
    scores, labels, _, _ = _volumes(tmp_path)
    for made, wrong in (("one", False), ("other", True)):
        (tmp_path / "maps" / "maps.json").write_text(
            json.dumps(
                {"version": 2, "run": "r", "scale": {"low": 0, "high": 1, "threshold": 0.5}, "source": {}, "scored_by": {"checksum": made}}
            )
        )
        facts = {"run_checksum": "one"}
        if wrong:
            with pytest.raises(MedoodError, match="are of different runs"):
                _evaluate(tmp_path, scores, labels, facts=facts, maps=tmp_path / "maps")
        else:
            assert "run_checksum" not in _evaluate(tmp_path, scores, labels, facts=facts, maps=tmp_path / "maps").run


def test_rows_out_of_domain_are_called_neither_and_counted_by_class(tmp_path):
    scores, labels = _photographs(40)
    before = _evaluate(tmp_path, scores, labels).levels[0].run
    normal = [row["id"] for row in labels if row["label"] == 0]
    for row in scores:
        if row["id"] in normal[:5]:
            row["decision"] = "out_of_domain"
    report = _evaluate(tmp_path, scores, labels)
    level = report.levels[0]
    flagged = {row["id"] for row in scores if row["decision"] == "anomalous"}
    assert level.run.fpr.value == pytest.approx(len(flagged & set(normal)) / len(normal))
    assert level.run.tpr == before.tpr
    assert (level.out_of_domain.normal, level.out_of_domain.anomalous) == (5, 0)
    assert level.out_of_domain.of_normal.value == pytest.approx(5 / len(normal))
    assert "0 anomalous and 5 normal rows that the run refused to judge" in _printed(report)
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())["levels"]["image"]
    assert stored["out_of_domain"]["of_anomalous"]["value"] == 0


def test_maps_that_are_16_bit_pictures_are_judged_as_the_same_maps(tmp_path):
    rng = np.random.default_rng(5)
    scores, labels, lines = [], [], []
    for number in range(6):
        mask = np.zeros((12, 18), dtype=np.uint8)
        mask[3:6, 2:9] = 255 * (number % 2)
        found = (rng.normal(size=mask.shape) + (mask > 0)).astype(np.float32)[None]
        geometry = photograph_geometry(found.shape)
        low, high = float(found.min()), float(found.max())
        write_map(tmp_path / "maps" / f"{number}.nrrd", found, geometry)
        write_png16(tmp_path / "maps" / f"{number}.png", found, low, high)
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
        grid = {"affine": geometry.affine.ravel().tolist(), "spacing_known": False}
        lines.append({"id": f"{number}.jpg", "map": f"{number}.png", "slices": [0], "grid": grid, "ranges": {"map": [low, high]}})
        scores.append({"level": "image", "id": f"{number}.jpg", "slice": "", "score": float(found.max()), "status": "ok"})
        labels.append({"id": f"{number}.jpg", "label": number % 2, "mask": f"{number}.png" if number % 2 else ""})
    found = []
    for kind in ("png", "nrrd"):
        listed = [json.dumps(line | {"map": f"{number}.{kind}"}) for number, line in enumerate(lines)]
        (tmp_path / "maps" / "maps.jsonl").write_text("\n".join(listed))
        found.append(_evaluate(tmp_path, scores, labels, maps=tmp_path / "maps").maps["map"].average_precision.value)
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    (tmp_path / "maps" / "maps.jsonl").write_text("\n".join(json.dumps({**line, "ranges": {}}) for line in lines))
    with pytest.raises(InputError, match="does not say what the values"):
        _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")


def test_photographs_with_picture_masks(tmp_path):
    rng = np.random.default_rng(1)
    scores, labels, lines, values, truth = [], [], [], [], []
    for number in range(8):
        mask = np.zeros((12, 18), dtype=np.uint8)
        mask[3:6, 2:9] = 255 * (number % 2)
        found = (rng.normal(size=mask.shape) + (mask > 0)).astype(np.float32)
        write_map(tmp_path / "maps" / f"{number}.nrrd", found[None], photograph_geometry((1, 12, 18)))
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
        lines.append({"id": f"{number}.jpg", "map": f"{number}.nrrd", "plain": None, "slices": [0]})
        scores.append({"level": "image", "id": f"{number}.jpg", "slice": "", "score": float(found.max()), "status": "ok"})
        labels.append({"id": f"{number}.jpg", "label": number % 2, "mask": f"{number}.png" if number % 2 else ""})
        values.append(found.ravel())
        truth.append(mask.ravel() > 0)
    (tmp_path / "maps" / "maps.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    report = _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")
    expected = average_precision_score(np.concatenate(truth), np.concatenate(values))
    assert report.maps["map"].average_precision.value == pytest.approx(expected, abs=1e-6)
    Image.fromarray(np.zeros((18, 12), dtype=np.uint8)).save(tmp_path / "1.png")
    with pytest.raises(InputError, match=re.escape("1.jpg (its mask 1.png)")) as caught:
        _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")
    assert caught.value.code == "mask_grid"


def test_a_picture_in_the_row_of_a_slice_is_the_mask_of_that_slice(tmp_path):
    scores, labels, _, _ = _volumes(tmp_path)
    whole = _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps").maps["map"]
    picture = np.zeros((16, 20), dtype=np.uint8)
    picture[4:8, 10:15] = 255
    Image.fromarray(picture).save(tmp_path / "slice.png")
    for row in labels:
        row["mask"] = "slice.png" if row["slice"] in (2, 3, 4) else ""
    assert _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps").maps["map"] == whole


def test_slices_cut_along_another_axis_are_found_again(tmp_path):
    scores, labels, _, _ = _volumes(tmp_path)
    whole = _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps").maps["map"]
    for number in range(4):
        for name in (f"maps/{number}.nrrd", f"maps/{number}p.nrrd", f"mask{number}.nrrd"):
            array, geometry = read_map(tmp_path / name)
            turned = np.moveaxis(array, 0, 2)
            write_map(tmp_path / name, turned, Geometry(geometry.affine, turned.shape))
    lines = [json.loads(line) for line in (tmp_path / "maps" / "maps.jsonl").read_text().splitlines()]
    (tmp_path / "maps" / "maps.jsonl").write_text("\n".join(json.dumps(line | {"axis": 2}) for line in lines))
    assert _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps").maps["map"] == whole


def test_the_label_of_an_entry_goes_to_its_slices_only_when_none_has_a_row(tmp_path):
    rows = [{"id": "a", "label": 0}, {"id": "b", "label": 0}, {"id": "b", "slice": 1, "label": 1}, {"id": "b", "slice": 2, "label": ""}]
    labels = read_labels(_write(tmp_path / "labels.csv", rows))
    assert [labels.of_slice("a", number) for number in (0, 9)] == [0, 0]
    assert [labels.of_slice("b", number) for number in (0, 1, 2)] == [None, 1, None]
    assert labels.of_slice("c", 0) is None


def test_a_mask_elsewhere_in_the_patient_is_refused(tmp_path):
    scores, labels, _, _ = _volumes(tmp_path)
    shifted = np.diag([-1.0, -1.0, 3.0, 1.0])
    shifted[0, 3] = 7.0
    write_map(tmp_path / "mask2.nrrd", np.ones((6, 16, 20)), Geometry(shifted, (6, 16, 20)))
    with pytest.raises(InputError, match=re.escape("v2 (its mask mask2.nrrd)")) as caught:
        _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")
    assert caught.value.code == "mask_grid"


FIGURES = [f"{name}.{kind}" for name in ("precision", "roc", "scores") for kind in ("png", "svg")]


def test_figures_are_whole_and_repeatable(tmp_path):
    scores, labels = _photographs()
    _evaluate(tmp_path, scores, labels)
    first = {name: (tmp_path / "out" / name).read_bytes() for name in FIGURES}
    _evaluate(tmp_path, scores, labels)
    for name, content in first.items():
        assert (tmp_path / "out" / name).read_bytes() == content
        if name.endswith("svg"):
            ElementTree.fromstring(content)
        else:
            assert min(np.asarray(Image.open(tmp_path / "out" / name)).shape[:2]) > 400
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evaluation.json", *sorted(first)]


def test_figures_show_what_they_are_given():
    line = np.array([0.0, 0.0, 1.0])
    one = RocPanel("one", {"score": (line, np.array([0, 0.5, 1]))}, {"run": (0.1, 0.7)})
    figure = roc_figure([one, RocPanel("two", {"x": (line, line)})])
    curve, point = figure.axes[0].lines[1], figure.axes[0].lines[2]
    assert curve.get_xydata().tolist() == [[0, 0], [0, 0.5], [1, 1]]
    assert point.get_xydata().tolist() == [[0.1, 0.7]]
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    scores = np.append(np.geomspace(1, 2, 50), [500.0])
    panel = ScorePanel("t", scores, (scores > 100).astype(int), threshold=30.0)
    axes = score_figure([panel]).axes[0]
    assert axes.get_xscale() == "log"  # one far score would squeeze all the others into one bin
    assert axes.lines[0].get_xdata()[0] == 30
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "normal (n = 50)",
        "anomalous (n = 1)",
        "threshold of the run (30)",
    ]
    low, high = axes.get_xlim()
    assert low < scores.min() < scores.max() < high
    assert score_figure([ScorePanel("constant", np.ones(5), np.arange(5) % 2)]).axes[0].get_xlim()[0] < 1


def test_curves_show_what_they_are_given_and_nothing_is_cut():
    line = np.linspace(0, 1, 5)
    look = {f"curve {n} with a legend that goes on to the right, .123 [.012, .234]": (line, line**n) for n in (1, 2)}
    band = (line, line / 2, line)
    roc = RocPanel("one", look, {"threshold of the run": (0.1, 0.7), "oracle G-mean threshold": (0.2, 0.8)}, band)
    made = {
        "roc": roc_figure([roc, RocPanel("two", {"score": (line, line)})]),
        "precision": precision_figure([PrecisionPanel("one", look, 0.25, band)]),
        "froc": froc_figure([FrocPanel("one", look, band)]),
    }
    for name, figure in made.items():
        FigureCanvasAgg(figure).draw()
        drawn, page = figure.get_tightbbox(), figure.bbox_inches
        assert page.x0 <= drawn.x0, name
        assert page.y0 <= drawn.y0, name
        assert drawn.x1 <= page.x1, name
        assert drawn.y1 <= page.y1, name
    for name, figure in made.items():
        shade = figure.axes[0].collections[0].get_paths()[0].vertices
        assert (shade[:, 1].min(), shade[:, 1].max()) == (0, 1), name
    assert made["precision"].axes[0].lines[0].get_ydata()[0] == 0.25
    assert made["roc"].axes[0].lines[2].get_xydata().tolist() == np.stack([line, line**2], 1).tolist()


def test_figures_leave_pyplot_alone(tmp_path):
    save_figure(score_figure([ScorePanel("t", np.arange(9.0), np.arange(9) % 2)]), tmp_path, "scores")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_lesions_and_the_inside_of_the_body_are_judged_where_maps_json_tells_them(tmp_path):
    scores, labels, _, _ = _volumes(tmp_path)
    plain = _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")
    assert plain.inside == {}
    assert plain.lesions["map"].at_threshold is None
    body = np.zeros((6, 16, 20), dtype=bool)
    body[:, 2:14, 4:18] = True
    for number in range(4):
        found, geometry = read_map(tmp_path / "maps" / f"{number}.nrrd")
        write_map(tmp_path / "maps" / f"{number}.nrrd", np.where(body, found, np.float32(-9)), geometry)
    header = {"version": 2, "run": "r", "source": {}, "scale": {"low": 0.5, "high": 3.0, "threshold": 2.5}, "outside": -9}
    (tmp_path / "maps" / "maps.json").write_text(json.dumps(header))
    report = _evaluate(tmp_path, scores, labels, maps=tmp_path / "maps")
    assert set(report.inside) == {"map", "plain"}
    assert report.inside["map"].pixels == 4 * 4 * 12 * 14  # patients, slices that count, and the body
    assert report.inside["map"].prevalence > report.maps["map"].prevalence
    found = report.lesions["map"]
    assert (found.lesions, found.scans) == (4, 4)
    assert found.at_threshold.threshold == 2.5
    assert 0 < found.at_threshold.sensitivity.value <= 1
    assert (tmp_path / "out" / "froc.png").exists()
    assert "maps: coloured areas, above the run's threshold of 2.5" in _printed(report)
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert stored["lesions"]["map"]["at_threshold"]["sensitivity"]["value"] == found.at_threshold.sensitivity.value
    assert set(stored["lesions"]["map"]["sensitivity"]) == {"0.125", "0.25", "0.5", "1", "2", "4", "8"}
    assert stored["inside"]["map"]["pixels"] == report.inside["map"].pixels
