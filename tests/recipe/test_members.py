"""Members of an ensemble in a recipe: defaults, features of their own, and every mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from medood.core.errors import RecipeError
from medood.recipe.benchmarks.grid import load_grid
from medood.recipe.differences import changed_keys
from medood.recipe.loading import load_recipe, resolve
from medood.recipe.recipe import Recipe

RECIPE = """
source: {name: folder, root: data}
transforms: grey_image
features: {name: grey_statistics, layers: [4]}
detector:
  name: ensemble
  members:
    - {name: patch_core, bank: 50}
    - {name: mahalanobis, features: {name: efficientnet_lite0, layers: [1]}}
    - {name: autoencoder, latent: 4}
"""


def load(folder: Path, text: str = RECIPE, changes: tuple[str, ...] = ()) -> Recipe:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return load_recipe(folder / "recipe.yaml", changes)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(folder, text)
    return [problem.replace(str(folder / "recipe.yaml"), "recipe") for problem in caught.value.problems]


def test_members_have_their_defaults_and_features_of_their_own_or_the_recipes(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    first, second, third = recipe.detector["members"]
    assert (first["name"], first["label"], first["bank"], first["candidates"]) == ("patch_core", "patch_core", 50, 100_000)
    assert first["features"]["name"] == "grey_statistics"
    assert first["features"]["layers"] == [4]
    assert (second["features"]["name"], second["features"]["layers"]) == ("efficientnet_lite0", [1])
    assert "features" not in third
    assert (third["latent"], third["epochs"]) == (4, 100)
    assert recipe.detector["join"] == "fisher"
    assert recipe.features is None


def test_a_resolved_recipe_resolves_to_itself(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    assert resolve(recipe.model_dump(mode="json"), {}, "again") == recipe


def test_without_features_anywhere_members_work_on_the_default(tmp_path: Path) -> None:
    text = RECIPE.replace("features: {name: grey_statistics, layers: [4]}\n", "")
    assert load(tmp_path, text).detector["members"][0]["features"]["name"] == "efficientnet_lite0"
    assert load(tmp_path, RECIPE, ("features.layers=[8]", "detector.join=maximum")).detector["members"][0]["features"]["layers"] == [8]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bank: 50", "bnk: 50", ("recipe:8: detector.members.0.bnk: unknown key; did you mean 'bank'?", "features", "label")),
        ("bank: 50", "bank: -1", ("recipe:8: detector.members.0.bank: found -1",)),
        ("name: mahalanobis", "name: mahalanobi", ("recipe:9: detector.members.1.name", "did you mean 'mahalanobis'?")),
        ("layers: [1]", "layers: [7]", ("recipe:9: detector.members.1.features.layers.0: found 7",)),
        ("layers: [1]", "layer: [1]", ("recipe:9: detector.members.1.features.layer: unknown key; did you mean 'layers'?",)),
        ("autoencoder, latent: 4", "deep_svdd, features: {}", ("recipe:10: detector.members.2.features: deep_svdd works on none",)),
        ("name: autoencoder, latent: 4", "name: mahalanobis", ("recipe:10: detector.members.2: 'mahalanobis'", "`label`")),
        ("latent: 4", "label: patch_core", ("recipe:10: detector.members.2: 'patch_core'", "`label`")),
        ("latent: 4", "label: a/b", ("recipe:10: detector.members.2.label: found 'a/b'", "letters")),
        ("latent: 4", "label: detector", ("recipe:10: detector.members.2.label: found 'detector'",)),
        ("name: autoencoder, latent: 4", "name: ensemble", ("recipe:10: detector.members.2.name: found 'ensemble'",)),
        ("{name: autoencoder, latent: 4}", "autoencoder", ("recipe:10: detector.members.2: found 'autoencoder', expected a mapping.",)),
        ("layers: [4]", "layers: [none]", ("recipe:4: features.layers.0",)),
        (
            "  name: ensemble\n",
            "  name: ensemble\n  join: fischer\n",
            ("recipe:7: detector.join: found 'fischer'", "did you mean 'fisher'?"),
        ),
        ("  name: ensemble\n", "  name: ensemble\n  runs: [a, b]\n", ("found 3 `members` beside 2 `runs`",)),
        ("  name: ensemble\n", "  name: ensemble\n  runs: a\n", ("recipe:7: detector.runs: found 'a', expected a list.",)),
    ],
)
def test_mistakes_have_their_place_and_their_key(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    (found,) = problems(tmp_path, RECIPE.replace(old, new, 1))
    assert all(word in found for word in words), found


@pytest.mark.parametrize(("members", "count"), [("[]", 0), ("[{name: intensity}]", 1)])
def test_fewer_than_two_members_are_none(tmp_path: Path, members: str, count: int) -> None:
    text = RECIPE.split("  members:")[0].replace("features: {name: grey_statistics, layers: [4]}\n", "") + f"  members: {members}\n"
    (found,) = problems(tmp_path, text)
    assert f"found {count}, expected at least two `members`, or at least two `runs`" in found


def test_features_that_no_member_works_on_are_a_mistake(tmp_path: Path) -> None:
    text = RECIPE.split("    - ")[0] + "    - {name: intensity}\n    - {name: mahalanobis, features: {layers: [1]}}\n"
    (found,) = problems(tmp_path, text)
    assert found.startswith("recipe:4: features: no member works on them")


def test_the_weights_of_a_member_may_lie_elsewhere(tmp_path: Path) -> None:
    def with_weights(path: str, sha256: str | None) -> Recipe:
        recipe = load(tmp_path, RECIPE.replace("efficientnet_lite0, layers: [1]", f"resnet18, weights: {path}"))
        second = recipe.detector["members"][1]
        second["features"]["sha256"] = sha256
        return recipe

    here, there = with_weights("here.pth", "ab"), with_weights("there.pth", "ab")
    assert changed_keys(here, there) == []
    assert changed_keys(here, with_weights("there.pth", None)) == ["detector"]
    assert changed_keys(with_weights("here.pth", None), here) == []
    assert changed_keys(here, with_weights("here.pth", "cd")) == ["detector"]
    assert changed_keys(here, load(tmp_path, RECIPE.split("    - {name: auto")[0])) == ["detector"]


def test_a_benchmark_may_compare_an_ensemble_with_its_members(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "cohorts: {A: {source: {name: folder, root: a}, transforms: grey_image}}\n"
        "detectors:\n"
        "  both: {detector: {name: ensemble, members: [{name: intensity}, {name: knn, features: {layers: [1]}}]}}\n"
        "  one: {detector: {name: intensity}}\n",
        encoding="utf-8",
    )
    grid = load_grid(tmp_path / "b.yaml")
    assert [member["label"] for member in grid.jobs[0].recipe.detector["members"]] == ["intensity", "knn"]
