"""Recipes: literals only, every mistake at once, defaults filled in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medood.core.errors import RecipeError
from medood.recipe import catalogue
from medood.recipe.benchmarks.grid import check_file
from medood.recipe.differences import changed_keys
from medood.recipe.literals import parse_literals
from medood.recipe.loading import load_preparation, load_recipe, shipped
from medood.recipe.recipe import Recipe

GOOD = """
summary: a test
source: {name: phantom, root: data}
transforms: brats_flair
augment:
  - mask_boxes
detector: {name: patch_gan}
training: {epochs: 2}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path, changes: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, changes)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.5E+2", 150.0),
        ("012", 12),
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("2026-11-22", "2026-11-22"),
        ("1:30", "1:30"),
        ("'1'", "1"),
        ("1.", 1.0),
        ("+7", 7),
    ],
)
def test_numbers_and_words_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_literals(f"key: {text}", "test")[0]["key"]
    assert found == value
    assert type(found) is type(value)


def test_every_mistake_is_reported_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "summary: x\n"
        "source: {name: phantm}\n"
        "transforms: brats_flairr\n"
        "detector: {name: patch_gan, loss_regon: image}\n"
        "training:\n"
        "  batch_sise: 4\n"
        "  patience: 0\n"
        "  precision: bf16\n"
        "  clip_norm: high\n"
        "seeed: 1\n",
    )
    found = "\n".join(problems_of(path))
    for line, words in {
        2: ("source.name", "'phantm'", "did you mean 'phantom'?"),
        3: ("transforms", "brats_flairr"),
        4: ("detector.loss_regon", "unknown key", "did you mean 'loss_region'?"),
        6: ("training.batch_sise", "did you mean 'batch_size'?"),
        7: ("training.patience", "found 0", "more than 0"),
        8: ("training.precision", "'bf16'", "'bfloat16'"),
        9: ("training.clip_norm", "'high'", "a number"),
        10: ("seeed", "did you mean 'seed'?"),
    }.items():
        sentence = next((text for text in found.splitlines() if text.startswith(f"{path}:{line}: ")), "")
        assert all(word in sentence for word in words), (line, found)


def test_mistakes_in_a_transforms_file_name_that_file(tmp_path: Path) -> None:
    transforms = tmp_path / "mine.yaml"
    transforms.write_text("summary: x\nsize: [64]\nsteps:\n  - scale_range: {low: 0.0}\n  - robst_scale\n", encoding="utf-8")
    found = problems_of(write(tmp_path, GOOD.replace("transforms: brats_flair", f"transforms: {transforms.as_posix()}")))
    assert any(f"{transforms.as_posix()}:2: size" in text for text in found)
    assert any(f"{transforms.as_posix()}:4: steps.0.high: this key is missing" in text for text in found)
    assert any("steps.1.name: found 'robst_scale'" in text and "robust_scale" in text for text in found)


def test_a_key_given_twice_is_a_mistake(tmp_path: Path) -> None:
    found = problems_of(write(tmp_path, GOOD + "training: {epochs: 3}\n"))
    assert len(found) == 1
    assert "training: this key is given twice" in found[0]


def test_merge_keys_are_refused_as_they_hide_keys_that_are_given_twice(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "<<: {detector: {name: nope}, training: {epochs: 3}}\n")
    sentence = "`<<` merges mappings, which would hide a key that is given twice: write the keys out."
    assert problems_of(path) == [f"{path}:9: {sentence}"]
    assert problems_of(write(tmp_path, GOOD), ("training={<<: {epochs: 3}}",)) == [f"--set:1: {sentence}"]
    assert load_recipe(write(tmp_path, GOOD.replace("a test", "'<<'"))).summary == "<<"


def test_a_key_that_is_a_number_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("{epochs: 2}", "\n  2: 5") + "1: 3\n")
    inner, outer = sorted(problems_of(path))
    assert inner.startswith(f"{path}:10: 1: unknown key")
    assert outer.startswith(f"{path}:9: training.2: unknown key")


@pytest.mark.parametrize("text", ["- a\n- b\n", "", "just words", "a: [1, 2\n", "a: !!python/object/apply:os.system ['true']\n"])
def test_what_is_no_mapping_of_literals_is_refused(tmp_path: Path, text: str) -> None:
    assert str(tmp_path) in problems_of(write(tmp_path, text))[0]


def test_a_detector_that_works_on_features_gets_those_named_or_the_default(tmp_path: Path) -> None:
    text = GOOD.replace("patch_gan", "knn").replace("  - mask_boxes\n", "").replace("augment:\n", "")
    assert load_recipe(write(tmp_path, text)).features == {
        "name": "efficientnet_lite0",
        "weights": "imagenet",
        "sha256": None,
        "size": None,
        "layers": [2, 3],
        "seed": 0,
    }
    named = load_recipe(write(tmp_path, text + "features: {name: gradient_histograms, layers: [12]}\n"))
    assert named.features == {"name": "gradient_histograms", "size": None, "layers": [12], "orientations": 9}
    assert load_recipe(write(tmp_path, text), ("features.weights=random",)).features["weights"] == "random"
    assert load_recipe(write(tmp_path, GOOD)).features is None, "those that can do without get none by default"
    compared = load_recipe(write(tmp_path, GOOD + "features: {weights: random}\n")).features
    assert (compared["name"], compared["weights"]) == ("efficientnet_lite0", "random")


@pytest.mark.parametrize(
    ("detector", "features", "words"),
    [
        ("deep_svdd", "{name: gradient_histograms}", ("deep_svdd works on none", "knn", "patch_core")),
        ("knn", "{name: gradient_histogram}", ("features.name", "did you mean 'gradient_histograms'?")),
        ("knn", "{layers: [2, 9]}", ("features.layers.1", "found 9", "0, 1, 2, 3 or 4")),
        ("knn", "{wieghts: random}", ("features.wieghts", "did you mean 'weights'?")),
        ("knn", "many", ("features", "found 'many'", "a mapping")),
    ],
)
def test_mistakes_in_the_features_have_their_line(tmp_path: Path, detector: str, features: str, words: tuple[str, ...]) -> None:
    path = write(tmp_path, GOOD.replace("patch_gan", detector) + f"features: {features}\n")
    (found,) = problems_of(path)
    assert found.startswith(f"{path}:{len(path.read_text().splitlines())}: ")
    assert all(word in found for word in words), found


def test_the_same_weights_may_lie_elsewhere(tmp_path: Path) -> None:
    text = GOOD.replace("patch_gan", "knn")
    here = load_recipe(write(tmp_path, text + "features: {name: resnet18, weights: here.pth}\n"))
    there = load_recipe(write(tmp_path, text + "features: {name: resnet18, weights: there.pth}\n"))
    known = here.model_copy(update={"features": here.features | {"sha256": "ab"}})
    assert changed_keys(known, here) == []
    assert changed_keys(here, there) == ["features"]
    assert changed_keys(known, there.model_copy(update={"features": there.features | {"sha256": "ab"}})) == []
    assert changed_keys(known, here.model_copy(update={"features": here.features | {"sha256": "cd"}})) == ["features"]


def test_a_recipe_never_runs_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    expression = f"$__import__('pathlib').Path({str(marker)!r}).touch()"
    write(tmp_path, GOOD.replace("a test", json.dumps(expression)))
    assert load_recipe(tmp_path / "recipe.yaml").summary == expression
    assert not marker.exists()


def test_changes_replace_single_values_and_are_checked_too(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    recipe = load_recipe(path, ("training.epochs=7", "transforms.size=[64, 96]", "detector.learning_rate=1e-3"))
    assert recipe.training.epochs == 7
    assert recipe.transforms.size == (64, 96)
    assert recipe.detector["learning_rate"] == 1e-3
    assert load_recipe(path, ("transforms.size=128", "transforms.field_of_view=180.5")).transforms.size == (128, 128)
    assert load_recipe(path, ("detector.name=cvad", "detector.latent=4")).detector["latent"] == 4
    assert load_recipe(path, ("detector.latent=4", "detector.name=cvad")).detector["latent"] == 4
    assert load_recipe(path, ("training.epochs={adversarial: 3}",)).training.epochs == {"adversarial": 3}
    assert "key=value" in problems_of(path, ("training.epochs",))[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("training.epochs=many", ("--set: training.epochs: found 'many', expected a whole number or a mapping",)),
        ("training.epochs=0", ("--set: training.epochs: found 0, expected a number of more than 0",)),
        ("training.epochs=-3", ("--set: training.epochs: found -3, expected a number of more than 0",)),
        ("training.epochs=1.5", ("--set: training.epochs: found 1.5, expected a whole number or a mapping",)),
        ("training.epochs={adversarial: 0}", ("--set: training.epochs.adversarial: found 0, expected a number of more than 0",)),
        ("training.milestones={adversarial: [2]}", ("--set: training.milestones.adversarial.0: found 2", "at most 1")),
        ("training.epoch=5", ("--set training.epoch=5: ", "did you mean training.epochs?")),
        ("trainig.epochs=5", ("did you mean training.epochs?",)),
        ("epochs=5", ("did you mean training.epochs, pretraining.epochs or detector.epochs?",)),
        ("batch_size=5", ("did you mean training.batch_size, scoring.batch_size or pretraining.batch_size?",)),
        ("transforms.sise=5", ("did you mean transforms.size?",)),
        ("transforms.size=[8, -5]", ("--set: transforms: size.1: found -5",)),
        ("detector.reeding=crop32", ("did you mean detector.reading?",)),
        ("detector.reading=crop64", ("--set: detector.reading: found 'crop64', expected 'image256' or 'crop32'",)),
        ("transforms.range=[1, 0]", ("--set: transforms: range: found [1, 0], expected two finite numbers, the lower one first.",)),
        ("transforms.range=[0, 0]", ("--set: transforms: range: found [0, 0], expected two finite numbers, the lower one first.",)),
        ("transforms.range=[.nan, 1]", ("--set: transforms: range.0: found nan, expected a finite number.",)),
        ("transforms.range=[0, .inf]", ("--set: transforms: range.1: found inf, expected a finite number.",)),
        ("pooling.smooth_mm=1e12", ("--set: pooling.smooth_mm: found 1000000000000.0, expected a number of at most 1000",)),
        ("pooling.smooth_mm=[1e12, 1]", ("--set: pooling.smooth_mm.0: found 1000000000000.0, expected a number of at most 1000",)),
        ("pooling.median_mm=1001", ("--set: pooling.median_mm: found 1001", "at most 1000")),
        ("pooling.erode_mm=.inf", ("--set: pooling.erode_mm: found inf", "at most 1000")),
        ("pooling.erode_mm=.nan", ("--set: pooling.erode_mm: found nan",)),
        ("pooling.top_mm2=1e7", ("--set: pooling.top_mm2: found 10000000.0", "at most 1000000")),
        ("pooling.top_mm3=1e10", ("--set: pooling.top_mm3: found 10000000000.0", "at most 1000000000")),
        ("augment=[{mask_cells: {grid: 0}}]", ("--set: augment.0.grid: found 0", "more than 0")),
        ("transforms.steps=[{percentile_scale: {lower: -5}}]", ("steps.0.lower: found -5, expected a number of at least 0",)),
        ("transforms.steps=[{percentile_scale: {upper: .nan}}]", ("steps.0.upper: found nan, expected a number of at most 100",)),
        ("transforms.steps=[{scale_range: {low: 0, high: .inf}}]", ("steps.0.high: found inf, expected a finite number",)),
        ("transforms.steps=[{equalise: {clip_limit: 2}}]", ("steps.0.clip_limit: found 2, expected a number of at most 1",)),
        ("sead=5", ("did you mean seed?",)),
        ("split.x=5", ("there are split.held_out, split.test, split.seed",)),
        ("seed.x=5", ("seed is a single value",)),
        ("augment.0=5", ("augment is a list",)),
        ("source.name=phantm", ("--set: source.name: found 'phantm'", "did you mean 'phantom'?")),
        ("training=5", ("--set: training: found 5, expected a mapping",)),
    ],
)
def test_a_mistake_in_a_change_names_the_change_and_the_nearest_key(tmp_path: Path, change: str, words: tuple[str, ...]) -> None:
    (found,) = problems_of(write(tmp_path, GOOD + "seed: 1\n"), (change,))
    assert found.startswith("--set")
    assert all(word in found for word in words), found


def test_mistakes_of_changes_and_of_the_file_come_together(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("epochs: 2", "epochs: 0"))
    found = problems_of(path, ("sead=1", "training.batch_size=0", "scoring.top_slices=x"))
    assert len(found) == 4
    assert sum(text.startswith("--set") for text in found) == 3
    assert any(text.startswith(f"{path}:8: training.epochs: found 0") for text in found)


def test_what_a_recipe_changes_in_its_transforms_is_named_by_the_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("transforms: brats_flair", "transforms: {name: brats_flair, size: [0, 8]}"))
    assert problems_of(path) == [f"{path}:4: transforms: size.0: found 0, expected a number of more than 0."]


def test_one_number_is_height_and_width_in_a_file_too(tmp_path: Path) -> None:
    path = write(tmp_path, "summary: x\nsize: 64\nfield_of_view: 180\nsteps: []\n")
    assert load_preparation(path).size == (64, 64)
    assert load_preparation(path).field_of_view == (180, 180)
    assert load_preparation(path, ("size=32",)).size == (32, 32)
    with pytest.raises(RecipeError, match=r"--set sise=32: .*did you mean size\?"):
        check_file(path, ("sise=32",))


def test_a_range_that_falls_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("summary: x\nsize: 64\nrange: [1.0, 0.0]\nsteps: []\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_preparation(path)
    assert caught.value.problems == (f"{path}:3: range: found [1.0, 0.0], expected two finite numbers, the lower one first.",)


def test_a_resolved_recipe_has_every_default_and_reads_back_the_same(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert recipe.training.batch_size == 16
    assert recipe.calibration.false_alarm_rate == 0.05
    assert set(catalogue.detectors()["patch_gan"].parameters.model_fields) < set(recipe.detector)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(recipe.model_dump_json(), encoding="utf-8")  # JSON is YAML
    assert load_recipe(resolved) == recipe


@pytest.mark.parametrize("path", shipped("recipes"), ids=lambda path: path.stem)
def test_every_recipe_that_ships_is_right_and_says_what_to_expect(path: Path) -> None:
    assert check_file(path) == (path, [load_recipe(path)])
    comment = path.read_text(encoding="utf-8").partition("summary:")[0]
    assert f"medood train {path.stem}" in comment or f"medood train recipes/{path.name}" in comment


@pytest.mark.parametrize("path", shipped("transforms"), ids=lambda path: path.stem)
def test_every_transforms_file_that_ships_is_right(path: Path) -> None:
    assert load_preparation(path.stem) == load_preparation(path)


@pytest.mark.parametrize("cards", [catalogue.detectors, catalogue.sources, catalogue.steps])
def test_cards_are_complete(cards) -> None:
    assert cards()
    for name, card in cards().items():
        assert card.summary, f"{name} has no docstring"
        assert card.load().__name__ == card.class_name
        for key, field in card.parameters.model_fields.items():
            if not field.is_required():
                card.parameters.model_validate_json(json.dumps({key: field.default} | _required(card)), strict=True)


def _required(card: catalogue.Card) -> dict[str, object]:
    """A value of its type for every parameter without a default."""
    fields = card.parameters.model_fields.items()
    return {key: "table.csv" if field.annotation is str else 1 for key, field in fields if field.is_required()}
