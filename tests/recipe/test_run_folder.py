"""Run folders that another version, or another hand, has made: a sentence for each, never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from medood.core.errors import RunError
from medood.core.files.atomic import sha256, write_json
from medood.recipe.building import build_detector
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run, save_run

RECIPE = """
source: {name: phantom}
transforms: {name: brats_flair, size: 32, field_of_view: null}
detector: {name: autoencoder, width: 4, latent: 4}
"""
SCORES = {"scores": [0.1, 0.2], "false_alarm_rate": 0.5, "threshold": 0.2, "patients": 2, "interval": [0.1, 0.9], "interval_reason": ""}
CALIBRATION = {
    "image": {**SCORES, "map_scale": {"low": 0.0, "high": 1.0, "threshold": 0.0}},
    "series": None,
    "series_reason": "too few",
    "parts": [],
    "pooling_threshold": None,
}
INDEX = [{"id": "a", "group": "p", "part": "train", "images": 3}]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    recipe = load_recipe(folder / "recipe.yaml")
    detector = build_detector(recipe)
    detector.fitted_.fill_(True)
    save_run(folder / "run", recipe, detector, CALIBRATION, INDEX, {"index": "0"})
    return folder / "run"


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


def forge(run: Path, name: str, content: Any) -> None:
    """Replace a file of the run, with a manifest that says so."""
    if isinstance(content, bytes):
        (run / name).write_bytes(content)
    else:
        write_json(run / name, content)
    manifest = json.loads((run / "manifest.json").read_text())
    write_json(run / "manifest.json", manifest | {name: sha256(run / name)})


def changed(run: Path, name: str, *path: str, to: Any = None) -> Any:
    """The content of a file with one value replaced, or removed where `to` is None."""
    content = json.loads((run / name).read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return content


def refused(run: Path) -> str:
    with pytest.raises(RunError) as caught:
        load_run(run)
    return str(caught.value)


def test_a_good_run_is_loaded_as_it_was_saved(run: Path) -> None:
    found = load_run(run)
    assert found.calibration == CALIBRATION
    assert found.recipe.detector["latent"] == 4
    assert not found.detector.training


@pytest.mark.parametrize(
    ("path", "to", "words"),
    [
        (("recipe", "detector", "name"), "unheard_of", ("detector.name", "'unheard_of'", "made by medood")),
        (("recipe", "detector", "laten"), 4, ("detector.laten", "did you mean 'latent'?")),
        (("recipe", "detector", "latent"), "four", ("detector.latent", "found 'four'")),
        (("recipe", "foreign"), 1, ("foreign: unknown key",)),
        (("recipe", "training", "foreign"), 1, ("training.foreign: unknown key",)),
        (("recipe", "transforms", "foreign"), 1, ("foreign: unknown key",)),
        (("recipe", "transforms", "steps"), [{"unheard_of": {}}], ("steps.0.name", "'unheard_of'")),
        (("recipe", "transforms", "size"), [40, 40], ("multiples of 32",)),
        (("recipe", "source", "name"), "unheard_of", ("source.name",)),
        (("recipe", "transforms"), 3, ("transforms",)),
        (("recipe",), 3, ("another version",)),
        (("recipe",), None, ("another version",)),
        (("provenance",), None, ("another version",)),
        (("format",), 99, ("another version",)),
    ],
    ids=str,
)
def test_a_foreign_recipe_is_a_sentence(run: Path, path: tuple[str, ...], to: Any, words: tuple[str, ...]) -> None:
    forge(run, "run.json", changed(run, "run.json", *path, to=to))
    said = refused(run)
    assert all(word in said for word in words), said
    assert str(run) in said


@pytest.mark.parametrize(
    ("path", "to", "words"),
    [
        (("image",), None, "image"),
        (("image", "scores"), [], "image.scores"),
        (("image", "scores"), ["x"], "image.scores.0"),
        (("image", "threshold"), None, "image.threshold"),
        (("image", "map_scale"), {"low": 1}, "image.map_scale.high"),
        (("series",), {"a": 1}, "series.scores"),
        (("parts",), "all", "parts"),
    ],
    ids=str,
)
def test_a_foreign_calibration_is_a_sentence(run: Path, path: tuple[str, ...], to: Any, words: str) -> None:
    forge(run, "calibration.json", changed(run, "calibration.json", *path, to=to))
    said = refused(run)
    assert f"{run / 'calibration.json'} is not what medood writes there ({words}" in said


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"image": NaN}', b"null"])
@pytest.mark.parametrize("name", ["run.json", "calibration.json", "manifest.json"])
def test_no_json_is_a_sentence(run: Path, name: str, content: bytes) -> None:
    if name == "manifest.json":
        (run / name).write_bytes(content)
    else:
        forge(run, name, content)
    assert str(run) in refused(run)


@pytest.mark.parametrize("content", [b"", b"{}", b"[3]", b'[{"id": 3}]', b'[{"id": "a", "group": "p", "part": "train"}]'])
def test_a_foreign_index_is_a_sentence(run: Path, content: bytes) -> None:
    forge(run, "index.json", content)
    assert "index.json is not what medood writes there" in refused(run)


def without(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if name != "network.0.0.conv.weight"}


def unfitted(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights | {"fitted_": torch.tensor(False)}


def more(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights | {"more": torch.zeros(1)}


def larger(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([value, value]) if value.ndim else value for name, value in weights.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without, "do not fit"),
        (larger, "do not fit"),
        (more, "do not fit"),
        (unfitted, "was not trained"),
    ],
)
def test_foreign_weights_are_a_sentence(run: Path, change: Callable[..., Any], words: str) -> None:
    save_file(change(load_file(run / "weights.safetensors")), run / "foreign")
    forge(run, "weights.safetensors", (run / "foreign").read_bytes())
    assert words in refused(run)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x10\0\0\0\0\0\0\0{}"])
def test_weights_that_are_none_are_a_sentence(run: Path, content: bytes) -> None:
    forge(run, "weights.safetensors", content)
    assert "do not fit" in refused(run)


def test_a_run_is_never_complete_while_it_is_replaced(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medood.recipe import run as run_module

    before = load_run(run)
    monkeypatch.setattr(run_module, "write_json", lambda *_: pytest.fail("the disk is full"))
    with pytest.raises(pytest.fail.Exception):
        save_run(run, before.recipe, before.detector, CALIBRATION, INDEX, {})
    assert "manifest.json" in refused(run)
