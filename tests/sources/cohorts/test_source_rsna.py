"""The RSNA pneumonia challenge in miniature: boxes, repeated rows, classes, patients, and incomplete downloads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import SECRET, write_image
from PIL import Image as Picture
from typer.testing import CliRunner

from medood.cli import app
from medood.core.errors import InputError, MedoodError
from medood.core.volume import Index
from medood.data.split import split
from medood.evaluation.labelled_scores import Key, ScoredRow, read_labels
from medood.evaluation.localisation import judge_maps
from medood.export.maps import write_map
from medood.recipe.loading import load_preparation, load_recipe
from medood.sources.cohorts.rsna import Rsna
from medood.sources.dicom.library import quiet
from medood.sources.folder import Folder

_JPEG = "1.2.840.10008.1.2.4.50"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NORMAL, _ALSO_NORMAL, _OPACITY, _OTHER = (f"{n:08x}-0000-4000-8000-00000000000{n}" for n in range(1, 5))
_MISSING, _UNLISTED = "0000000a-0000-4000-8000-00000000000a", "0000000b-0000-4000-8000-00000000000b"
_BOXES = f"""patientId,x,y,width,height,Target
{_NORMAL},,,,,0
{_OPACITY},4.0,2.0,8.0,10.0,1
{_OPACITY},20.0,6.0,5.0,3.0,1
{_OTHER},,,,,0
{_ALSO_NORMAL},,,,,0
"""
_CLASSES = f"""patientId,class
{_NORMAL},Normal
{_OPACITY},Lung Opacity
{_OPACITY},Lung Opacity
{_OTHER},No Lung Opacity / Not Normal
{_ALSO_NORMAL},Normal
"""


def _radiograph(root: Path, name: str) -> None:
    """A bright disc on dark, (24, 32) pixels, with the elements that the published files have; PatientID is the name of the file."""
    rows, columns = np.mgrid[:24, :32]
    pixels = (30 + 200 * np.exp(-((rows - 9) ** 2 + (columns - 20) ** 2) / 60)).astype(np.uint8)
    extra = {
        "SOPClassUID": _SECONDARY_CAPTURE,
        "ConversionType": "WSD",
        "ViewPosition": "PA",
        "PatientAge": "51",
        "PixelSpacing": ["0.14300000000000002", "0.14300000000000002"],
    }
    with quiet():  # the published spacing is longer, and the age shorter, than the standard allows
        write_image(root / "stage_2_train_images" / f"{name}.dcm", pixels, modality="CR", patient=name, syntax=_JPEG, extra=extra)


def _tables(root: Path, boxes: str = _BOXES, classes: str = _CLASSES) -> None:
    (root / "stage_2_train_labels.csv").write_text(boxes)
    (root / "stage_2_detailed_class_info.csv").write_text(classes)


@pytest.fixture
def download(tmp_path: Path) -> Path:
    for name in (_NORMAL, _ALSO_NORMAL, _OPACITY, _OTHER):
        _radiograph(tmp_path, name)
    _tables(tmp_path)
    return tmp_path


def _labels(index: Index) -> dict[str, int | None]:
    return {entry.files[0].stem: entry.label for entry in index.entries}


def test_an_image_is_one_entry_however_many_boxes_it_has(download: Path) -> None:
    index = Rsna(download).index()
    assert index.problems == ()
    assert [e.id for e in index.entries] == [
        f"stage_2_train_images/{name}.dcm" for name in sorted((_NORMAL, _ALSO_NORMAL, _OPACITY, _OTHER))
    ]
    assert _labels(index) == {_NORMAL: 0, _ALSO_NORMAL: 0, _OPACITY: 1, _OTHER: 1}
    assert {e.part for e in index.entries} == {None}
    assert {e.origin.modality for e in index.entries} == {"CR"}
    assert all(e.slices == 1 and e.origin.sop_uids and "lossy" in e.issues for e in index.entries)
    assert len({e.group for e in index.entries}) == 4
    assert all(e.files[0].stem not in e.group and SECRET not in str(e) for e in index.entries)


def test_the_boxes_are_the_mask(download: Path) -> None:
    source = Rsna(download)
    volumes = {e.files[0].stem: source.read(e) for e in source.index().entries}
    expected = np.zeros((1, 24, 32), np.uint8)
    expected[0, 2:12, 4:12] = 1  # y 2 and height 10 are rows
    expected[0, 6:9, 20:25] = 1
    assert volumes[_OPACITY].mask is not None
    assert volumes[_OPACITY].mask.dtype == np.uint8
    np.testing.assert_array_equal(volumes[_OPACITY].mask, expected)
    assert volumes[_OPACITY].labels.tolist() == [1]
    assert volumes[_NORMAL].mask is not None
    assert not volumes[_NORMAL].mask.any()
    assert volumes[_NORMAL].labels.tolist() == [0]
    assert volumes[_OTHER].mask is None, "nobody marked what is wrong"
    assert volumes[_OTHER].labels.tolist() == [1]
    image = volumes[_OPACITY].image
    assert image.shape == (1, 1, 24, 32)
    assert np.unravel_index(image.argmax(), image.shape)[2:] == pytest.approx((9, 20), abs=1)
    assert image.max() == pytest.approx(230, abs=6)


@pytest.mark.parametrize(("anomalous", "left_out"), [("opacity", _OTHER), ("not_normal", _OPACITY)])
def test_the_class_that_was_not_asked_for_is_nowhere(download: Path, anomalous: str, left_out: str) -> None:
    index = Rsna(download, anomalous=anomalous).index()
    assert index.problems == ()
    labels = _labels(index)
    assert left_out not in labels
    assert len(labels) == 3
    assert sum(label or 0 for label in labels.values()) == 1
    parts = split(index, load_recipe("rsna_ae"))
    assert {e.files[0].stem for e in (*parts.train, *parts.held_out)} == {_NORMAL, _ALSO_NORMAL}


def test_a_box_over_the_edge_is_cut_and_one_outside_is_refused(download: Path) -> None:
    _tables(download, _BOXES.replace("20.0,6.0,5.0,3.0", "28.0,20.0,50.0,50.0"))
    source = Rsna(download)
    (entry,) = (e for e in source.index().entries if e.files[0].stem == _OPACITY)
    mask = source.read(entry).mask
    assert mask is not None
    assert mask[0, 20:, 28:].all()
    assert mask.sum() == 80 + 4 * 4
    for outside in ("32.0,0.0,5.0,5.0", "0.0,24.0,5.0,5.0"):
        _tables(download, _BOXES.replace("20.0,6.0,5.0,3.0", outside))
        (entry,) = (e for e in source.index().entries if e.files[0].stem == _OPACITY)
        with pytest.raises(InputError, match="outside of the image") as caught:
            source.read(entry)
        assert caught.value.code == "mask_grid"


def test_the_labels_file_names_masks_that_evaluation_finds_on_the_maps(download: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A map that is hot in the boxes finds every one of their pixels; the intensity, another map, does not."""
    out = tmp_path_factory.mktemp("out")
    result = CliRunner().invoke(app, ["labels", "rsna", str(download), "--out", str(out / "labels.csv"), "--set", "anomalous=opacity"])
    assert result.exit_code == 0, result.output
    assert len(list((out / "masks").rglob("*.nrrd"))) == 1
    labels = read_labels(out / "labels.csv")
    assert _OTHER not in str(labels.rows), "only opacities were asked for"
    source, lines, scored = Rsna(download, anomalous="opacity"), [], []
    for number, entry in enumerate(source.index().entries):
        volume = source.read(entry)
        write_map(out / "maps" / f"{number}.nrrd", volume.mask + 0.5, volume.geometry)
        write_map(out / "maps" / f"{number}p.nrrd", volume.image[0], volume.geometry)
        lines.append({"id": entry.id, "map": f"{number}.nrrd", "plain": f"{number}p.nrrd", "slices": [0]})
        scored.append(ScoredRow("image", Key(entry.id, None), entry.group, 0.5, None, {}))
    (out / "maps" / "maps.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    judged = judge_maps(out / "maps", labels, scored, resamples=1, seed=0)
    found = judged.pixels
    assert not judged.notes
    assert found["map"].average_precision.value == pytest.approx(1.0)
    assert found["map"].prevalence == pytest.approx((10 * 8 + 3 * 5) / (3 * 24 * 32))
    assert (found["map"].lesions, found["map"].pixels) == (2, 3 * 24 * 32)
    assert found["plain"].average_precision.value < 0.9


@pytest.mark.parametrize(
    ("change", "says"),
    [("anomalous=pneumonia", "'opacity'"), ("anomalos=both", "did you mean anomalous?"), ("anomalous", "expected key=value")],
)
def test_parameters_of_the_labels_command_are_checked(download: Path, change: str, says: str) -> None:
    result = CliRunner().invoke(app, ["labels", "rsna", str(download), "--out", str(download / "labels.csv"), "--set", change])
    assert result.exit_code == 2
    assert says in result.output
    assert not (download / "labels.csv").exists()


def test_images_of_one_nih_patient_keep_together(download: Path) -> None:
    before = {e.files[0].stem: e.group for e in Rsna(download).index().entries}
    images = {_NORMAL: "00000013_005.png", _OPACITY: "00000014_000.png", _ALSO_NORMAL: "00000013_027.png"}
    mappings = download / "pneumonia-challenge-dataset-mappings_2018.json"
    mappings.write_text(json.dumps([{"subset_img_id": name, "img_id": image, "orig_labels": []} for name, image in images.items()]))
    groups = {e.files[0].stem: e.group for e in Rsna(download).index().entries}
    assert before[_NORMAL] != before[_ALSO_NORMAL]
    assert groups[_NORMAL] == groups[_ALSO_NORMAL]
    assert len(set(groups.values())) == 3
    assert not any("13" in group for group in groups.values())
    for wrong in ("{", "[1]", '[{"subset_img_id": "a"}]', '[{"subset_img_id": "a", "img_id": 3}]'):
        mappings.write_text(wrong)
        with pytest.raises(MedoodError, match="subset_img_id and img_id"):
            Rsna(download).index()


def test_groups_do_not_depend_on_which_images_are_there(download: Path) -> None:
    groups = {e.id: e.group for e in Rsna(download).index().entries}
    (download / "stage_2_train_images" / f"{_NORMAL}.dcm").unlink()
    fewer = {e.id: e.group for e in Rsna(download).index().entries}
    assert len(fewer) == 3
    assert fewer.items() <= groups.items()


def test_what_is_in_one_place_only_is_a_problem(download: Path) -> None:
    _radiograph(download, _UNLISTED)
    more = [f"{_MISSING[:-1]}{n}" for n in range(4)]
    _tables(download, _BOXES + "".join(f"{n},,,,,0\n" for n in more), _CLASSES + "".join(f"{n},Normal\n" for n in more))
    cut = download / "stage_2_train_images" / f"{_OTHER}.dcm"
    cut.write_bytes(cut.read_bytes()[:200])
    index = Rsna(download).index()
    assert _labels(index).keys() == {_NORMAL, _ALSO_NORMAL, _OPACITY}
    problems = {p.code: p for p in index.problems}
    assert len(index.problems) == 3, "the damaged image is not missing as well"
    assert problems["incomplete"].message.startswith(
        f"4 of the 8 images in stage_2_train_labels.csv are missing, such as {more[0]}, {more[1]}"
    )
    assert more[3] not in problems["incomplete"].message
    assert problems["not_listed"].path == f"stage_2_train_images/{_UNLISTED}.dcm"
    (damaged,) = (p for p in index.problems if p.code not in ("incomplete", "not_listed"))
    assert damaged.path == f"stage_2_train_images/{_OTHER}.dcm"


def test_an_incomplete_download_is_explained_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match=r"stage_2_train_images, .*_labels\.csv, .*_info\.csv missing: .* found nothing"):
        Rsna(tmp_path).index()
    _radiograph(tmp_path, _NORMAL)
    with pytest.raises(MedoodError, match=r": stage_2_train_labels\.csv, stage_2_detailed_class_info\.csv missing"):
        Rsna(tmp_path).index()
    with pytest.raises(InputError, match="no such folder"):
        Rsna(tmp_path / "elsewhere").index()


@pytest.mark.parametrize(
    ("boxes", "classes", "says"),
    [
        (_BOXES.partition("\n")[0], _CLASSES, r"labels\.csv: the table has no rows"),
        (_BOXES.replace("Target", "aim"), _CLASSES, r"labels\.csv: the column Target is missing; found patientId, x, "),
        (_BOXES, _CLASSES.replace("class", "kind"), r"info\.csv: the column class is missing"),
        (_BOXES.replace(f"{_OTHER},", ","), _CLASSES, r"labels\.csv:5: patientId is empty"),
        (_BOXES, _CLASSES.replace(f"{_OTHER},", ","), r"info\.csv:5: patientId is empty"),
        (_BOXES.replace("8.0,10.0,1", "8.0,10.0,2"), _CLASSES, r"labels\.csv:3: expected Target 1 and a box"),
        (_BOXES.replace("8.0,10.0,1", "8.0,10.0,0"), _CLASSES, r"labels\.csv:3: expected Target 1 and a box"),
        (_BOXES.replace("4.0,2.0,8.0,10.0", ",,,"), _CLASSES, r"labels\.csv:3: expected Target 1 and a box"),
        (_BOXES.replace("8.0,10.0", ",10.0"), _CLASSES, r"labels\.csv:3: expected x, y, width and height"),
        (_BOXES.replace("8.0,10.0", "8.0,-1"), _CLASSES, r"labels\.csv:3: expected x, y, width and height"),
        (_BOXES.replace("8.0,10.0", "8.0,nan"), _CLASSES, r"labels\.csv:3: expected x, y, width and height"),
        (f"{_BOXES}{_OTHER},,,,,0\n", _CLASSES, r"labels\.csv:7: this image stands in an earlier row"),
        (f"{_BOXES}{_OTHER},1,1,1,1,1\n", _CLASSES, r"labels\.csv:7: this image stands in an earlier row"),
        (_BOXES, _CLASSES.replace("No Lung Opacity / Not Normal", "Abnormal"), r"info\.csv:5: class 'Abnormal': expected one of Normal, "),
        (_BOXES, f"{_CLASSES}{_OTHER},Normal\n", r"info\.csv:7: an earlier row of this image names another class"),
        (_BOXES, _CLASSES.replace(f"{_OTHER},No Lung Opacity / Not Normal", f"{_OTHER},Lung Opacity"), r"info\.csv:5: .* with Target 1"),
        (_BOXES, _CLASSES.replace("Lung Opacity\n", "Normal\n"), r"info\.csv:3: Normal, but .* with Target 0"),
        (_BOXES, f"{_CLASSES}{_MISSING},Normal\n", r"info\.csv:7: Normal, but .* no row"),
        (f"{_BOXES}{_MISSING},,,,,0\n", _CLASSES, r"info\.csv: 1 of the 5 images in stage_2_train_labels\.csv have no row"),
    ],
)
def test_mistakes_in_the_tables_name_their_line(download: Path, boxes: str, classes: str, says: str) -> None:
    _tables(download, boxes, classes)
    with pytest.raises(MedoodError, match=says):
        Rsna(download).index()


def test_radiographs_and_birds_become_images_of_the_same_kind(download: Path) -> None:
    from medood.transforms.pipeline import Pipeline

    pipeline = Pipeline(load_preparation("rsna_dicom"))
    source = Rsna(download)
    prepared = pipeline.prepare(source.read(source.index().entries[0])).images
    assert prepared.shape == (1, 1, 256, 256)
    assert (prepared.min(), prepared.max()) == pytest.approx((0, 1), abs=0.02)
    assert not prepared[..., :28, :].any(), "24 rows of 32 columns: bars above and below"
    assert prepared[0, 0, 32 + 9 * 8 + 4, 20 * 8 + 4] > 0.95, "the disc is bright and in its place"
    bird = download / "birds" / "test" / "OWL" / "1.jpg"
    bird.parent.mkdir(parents=True)
    Picture.fromarray(np.full((20, 20, 3), (255, 0, 0), np.uint8)).save(bird)
    folder = Folder(download / "birds")
    (entry,) = folder.index().entries
    assert pipeline.prepare(folder.read(entry)).images.shape == (1, 1, 256, 256)


def test_a_radiograph_of_12_bits_is_shown_by_its_window(tmp_path: Path) -> None:
    from medood.transforms.pipeline import Pipeline

    values = np.array([0, 1000, 1500, 2000, 4095, 1250, 900, 2100], np.uint16)
    pixels = np.tile(values.repeat(32)[:, None], (1, 256))
    window = {"WindowCenter": "1500", "WindowWidth": "1000", "VOILUTFunction": "LINEAR_EXACT"}
    write_image(tmp_path / "chest.dcm", pixels, modality="DX", bits=12, extra=window)
    folder = Folder(tmp_path)
    (entry,) = folder.index().entries
    prepared = Pipeline(load_preparation("rsna_dicom")).prepare(folder.read(entry)).images
    np.testing.assert_allclose(prepared[0, 0, 16::32, 128], [0, 0, 0.5, 1, 1, 0.25, 0, 1], atol=1e-6)
