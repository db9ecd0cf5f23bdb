"""What a recipe may say of a contrast and of a table of numbers, and the sentences for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from medood.core.errors import RecipeError
from medood.recipe.benchmarks.grid import load_grid
from medood.recipe.differences import changed_keys
from medood.recipe.loading import load_recipe
from medood.recipe.recipe import Recipe

IMAGES = """
source: {{name: phantom, kind: skin, root: data}}
transforms: {{name: grey_image, size: [64, 64]}}
features: {{name: grey_statistics}}
detector: {{name: {detector}}}
"""
TABLE = """
source: {name: numbers, root: data, csv: table.csv}
detector: {name: contrastive_flow}
contrast: product_of_marginals
"""


def loaded(folder: Path, text: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def problems_of(folder: Path, text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        loaded(folder, text)
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0]


def images(detector: str, contrast: str = "") -> str:
    return IMAGES.format(detector=detector) + (f"contrast: {contrast}\n" if contrast else "")


@pytest.mark.parametrize("made", ["synthetic", "product_of_marginals"])
def test_a_contrast_that_is_made(tmp_path: Path, made: str) -> None:
    assert loaded(tmp_path, images("flow_ratio", made)).contrast == made


def test_a_contrast_is_a_source_with_its_defaults_and_its_own_transforms_at_the_same_size(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, images("flow_ratio", "{name: idx, root: others, transforms: idx_image}"))
    assert recipe.contrast["normal"] is None
    assert recipe.contrast["transforms"]["size"] == [64, 64]
    assert [list(step) for step in recipe.contrast["transforms"]["steps"]] == [["to_grey"], ["scale_range"]]
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert changed_keys(recipe, again) == []
    moved = again.model_copy(update={"contrast": {**recipe.contrast, "root": "elsewhere"}})
    assert changed_keys(recipe, moved) == []
    assert changed_keys(recipe, again.model_copy(update={"contrast": "synthetic"})) == ["contrast"]
    changed = load_recipe(tmp_path / "recipe.yaml", ["contrast.root=mine", "contrast.normal=3"])
    assert (changed.contrast["root"], changed.contrast["normal"]) == ("mine", 3)


def test_a_detector_that_needs_one_has_one_and_no_other_does(tmp_path: Path) -> None:
    assert "contrastive_flow learns to tell normal images from others and is given none" in problems_of(
        tmp_path, images("contrastive_flow")
    )
    sentence = problems_of(tmp_path, images("flow", "synthetic"))
    assert ":6: contrast: flow has no use for it" in sentence
    assert "contrastive_flow, flow_ratio, mse_ratio, outlier_exposure" in sentence


@pytest.mark.parametrize(
    ("contrast", "words"),
    [
        ("{name: phantom, kind: skin, root: data}", "these are the training images themselves"),
        ("{name: idx, root: others, normale: 3}", "contrast.normale: unknown key"),
        ("{name: idxx, root: others}", "did you mean 'idx'?"),
        ("{name: idx, root: others, transforms: photo}", "not one of the transforms that come with medood"),
        ("{name: isic, root: others, transforms: {name: idx_image, range: [0.0, 2.0]}}", "both must be the same"),
        ("synthetics", "'synthetic'"),
        ("{name: idx, root: others, mixed_with: {name: folder, root: more}}", "contrast.mixed_with: expected a source with its `share`"),
        ("{name: idx, root: others, mixed_with: {share: 1.5, name: folder, root: more}}", "`share` of the contrast, 0 to 1, found"),
        ("{name: idx, root: others, mixed_with: more}", "expected a source with its `share` of the contrast, 0 to 1, found 'more'"),
        ("{name: idx, root: others, mixed_with: {share: 0.2, name: foldr, root: more}}", "did you mean 'folder'?"),
        ("{name: idx, root: others, mixed_with: {share: 0.2, name: folder, rooot: more}}", "contrast.mixed_with.rooot: unknown key"),
        ("{name: idx, root: others, mixed_with: {share: 0.2, name: idx, root: more, transforms: photo}}", "contrast.mixed_with.transforms"),
    ],
)
def test_mistakes_in_a_contrast(tmp_path: Path, contrast: str, words: str) -> None:
    assert words in problems_of(tmp_path, images("mse_ratio", contrast))


def test_a_benchmark_gives_the_contrast_of_a_cohort_to_those_who_learn_from_it(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(
        "cohorts:\n  skin:\n    source: {name: phantom, kind: skin, root: data}\n    transforms: {name: grey_image, size: [64, 64]}\n"
        "    contrast: {name: folder, root: others}\n"
        "common: {features: {name: grey_statistics}}\ndetectors:\n  Flow: {detector: {name: flow}}\n"
        "  Ratio: {detector: {name: flow_ratio}}\n",
        encoding="utf-8",
    )
    flow, ratio = (job.recipe for job in load_grid(tmp_path / "grid.yaml", Path("/below")).jobs)
    assert flow.contrast is None
    assert Path(ratio.contrast["root"]) == Path("/below/others")


def test_a_table_of_numbers_needs_neither_transforms_nor_features(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, TABLE.replace("csv: table.csv", "csv: table.csv, columns: [a, b, c]"))
    assert recipe.features == {"name": "columns"}
    assert (recipe.transforms.channels, recipe.transforms.size, recipe.transforms.steps) == (3, (1, 1), [])


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("detector: {name: contrastive_flow}\ncontrast: product_of_marginals", "detector: {name: vae}", "vae works on images"),
        ("contrast: product_of_marginals", "contrast: synthetic", "told from another table"),
        ("contrast: product_of_marginals", "contrast: {name: folder, root: x}", "told from another table"),
        ("contrast:", "features: {name: grey_statistics}\ncontrast:", "grey_statistics are features of images"),
        ("contrast:", "transforms: grey_image\ncontrast:", "has no images to transform"),
        ("contrast:", "augment: [mask_boxes]\ncontrast:", "augment: changes images"),
    ],
)
def test_images_and_numbers_do_not_mix(tmp_path: Path, before: str, after: str, words: str) -> None:
    assert words in problems_of(tmp_path, TABLE.replace(before, after))


def test_columns_are_no_features_of_images_and_images_have_one_or_three_channels(tmp_path: Path) -> None:
    assert "are those of a table" in problems_of(tmp_path, images("flow").replace("grey_statistics", "columns"))
    assert "1 or 3 channels, found 2" in problems_of(tmp_path, images("flow").replace("size: [64, 64]", "size: [64, 64], channels: 2"))
