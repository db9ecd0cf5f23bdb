"""Benchmark files: what they resolve to, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from medood.core.errors import RecipeError
from medood.recipe.benchmarks.grid import check_file, load_grid, slug
from medood.recipe.loading import shipped

GRID = """\
tables: [intra, inter]
seeds: [3, 1]
common:
  transforms: {size: [32, 32]}
  training: {batch_size: 4, patience: 2}
cohorts:
  Skin photographs:
    source: {name: folder, root: skin, csv: table.csv}
    transforms: isic_image
    outliers: [Chests, Birds]
  Chests:
    source: {name: folder, root: /elsewhere/chests}
    transforms: {name: grey_image, fit: crop}
    training: {batch_size: 2}
sets:
  Birds: {source: {name: folder, root: birds}, limit: 10}
detectors:
  AE: {detector: {name: autoencoder, latent: 4}, training: {patience: 7}}
  SVM:
    detector: {name: one_class_svm}
    parts: {half of it: half}
"""


def _load(folder: Path, text: str = GRID, **more):
    path = folder / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return load_grid(path, **more)


def test_every_run_of_the_grid_has_its_own_recipe_and_place(tmp_path):
    grid = _load(tmp_path, data=Path("/data"))
    assert [job.name for job in grid.jobs] == [
        f"{cohort}, {detector}, seed {seed}" for cohort in ("Skin photographs", "Chests") for detector in ("AE", "SVM") for seed in (3, 1)
    ]
    assert [job.place for job in grid.jobs[:2]] == ["skin-photographs/ae/seed-3", "skin-photographs/ae/seed-1"]
    assert [job.recipe.seed for job in grid.jobs[:2]] == [3, 1]
    skin, chests = grid.jobs[0].recipe, grid.jobs[4].recipe
    assert skin.source == {"name": "folder", "root": str(Path("/data/skin")), "csv": "table.csv"}
    assert Path(chests.source["root"]) == Path("/elsewhere/chests")
    assert (skin.transforms.channels, skin.transforms.size) == (3, (32, 32))
    assert (chests.transforms.channels, chests.transforms.size, chests.transforms.fit) == (1, (32, 32), "crop")


def test_hindsight_is_a_pattern_of_components_and_no_key_of_a_recipe(tmp_path):
    grid = _load(tmp_path, GRID.replace("parts: {half of it: half}", "hindsight: nu_*"))
    assert grid.hindsight == {"SVM": "nu_*"}
    assert not any("hindsight" in job.recipe.model_dump() for job in grid.jobs)
    with pytest.raises(RecipeError, match=r"detectors\.SVM\.hindsight: expected a pattern of components, such as nu_\*, found True"):
        _load(tmp_path, GRID.replace("parts: {half of it: half}", "hindsight: true"))


def test_a_cohort_wins_over_a_detector_and_a_detector_over_what_is_common(tmp_path):
    grid = _load(tmp_path)
    skin_ae, chests_ae, chests_svm = (grid.jobs[i].recipe.training for i in (0, 4, 6))
    assert (skin_ae.batch_size, skin_ae.patience) == (4, 7)
    assert (chests_ae.batch_size, chests_ae.patience) == (2, 7)
    assert (chests_svm.batch_size, chests_svm.patience) == (2, 2)


def test_a_detector_of_another_name_does_not_inherit_parameters(tmp_path):
    text = GRID.replace("common:\n", "common:\n  detector: {name: autoencoder, width: 8}\n")
    grid = _load(tmp_path, text)
    assert grid.jobs[0].recipe.detector["width"] == 8
    assert "width" not in grid.jobs[2].recipe.detector


def test_changes_from_the_command_line_hold_for_every_run(tmp_path):
    grid = _load(tmp_path, changes=["training.batch_size=9", "transforms.size=[64, 32]"])
    assert {job.recipe.training.batch_size for job in grid.jobs} == {9}
    assert {job.recipe.transforms.size for job in grid.jobs} == {(64, 32)}


def test_a_detector_may_have_seeds_of_its_own(tmp_path):
    grid = _load(tmp_path, GRID.replace("  SVM:\n", "  SVM:\n    seeds: [8]\n"))
    assert [job.place for job in grid.jobs[:4]] == [f"skin-photographs/{name}" for name in ("ae/seed-3", "ae/seed-1", "svm/seed-8")] + [
        "chests/ae/seed-3"
    ]


def test_seeds_are_not_changed_from_the_command_line(tmp_path):
    with pytest.raises(RecipeError, match="a benchmark has `seeds`, in its file"):
        _load(tmp_path, changes=["seed=3"])


def test_outliers_are_sets_or_whole_cohorts(tmp_path):
    grid = _load(tmp_path, data=Path("/data"))
    assert grid.outliers == {"Skin photographs": ("Chests", "Birds"), "Chests": ()}
    assert grid.sets["Birds"].limit == 10
    assert Path(grid.sets["Birds"].source["root"]) == Path("/data/birds")
    assert grid.sets["Chests"].source == {"name": "folder", "root": "/elsewhere/chests", "csv": None}
    assert grid.sets["Chests"].part is None
    assert grid.parts == {"AE": {}, "SVM": {"half of it": "half"}}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "[Chests, Birds]",
            "[Chest, Birds]",
            "grid.yaml:10: cohorts.Skin photographs.outliers: 'Chest' is neither a set nor another cohort",
        ),
        ("[Chests, Birds]", "Birds", "grid.yaml:10: cohorts.Skin photographs.outliers: expected a list of names, found 'Birds'"),
        ("latent: 4", "laten: 4", "grid.yaml:18: detector.laten: unknown key; did you mean 'latent'?"),
        ("patience: 7", "patience: 0", "grid.yaml:18: training.patience"),
        ("name: grey_image", "name: gray_image", "'grey_image'"),
        ("seeds: [3, 1]", "seeds: [3, 3]", "grid.yaml:2: seeds: expected different whole numbers, found [3, 3]"),
        ("seeds: [3, 1]", "seeds: []", "grid.yaml:2: seeds: expected different whole numbers, found []"),
        ("tables: [intra, inter]", "tables: [intre]", "grid.yaml:1: tables"),
        ("  Birds: {source", "  Chests: {source", "grid.yaml:16: sets.Chests: like 'Chests': both would use the name chests for files"),
        ("  SVM:\n", "  a e: {detector: {name: vae}}\n  A-E: {detector: {name: vae}}\n  SVM:\n", "both would use the name a-e for files"),
        ("    parts: {half of it: half}", "    parts: [half]", "grid.yaml:21: detectors.SVM.parts: expected names of rows"),
        ("seeds:", "sets_: 1\nseeds:", "sets_: unknown key"),
        (
            "  SVM:\n",
            "  SVM:\n    seeds: [1, 1]\n",
            "grid.yaml:20: detectors.SVM.seeds: expected a list of different whole numbers, found [1, 1]",
        ),
        ("root: birds}", "rot: birds}", "grid.yaml:16: sets.Birds.source.rot: unknown key"),
        ("name: folder, root: birds", "name: foldr, root: birds", "grid.yaml:16: sets.Birds.source.name: found 'foldr'"),
        ("  Birds: {source", "  Own: {source", "grid.yaml:16: sets.Own: this name has a meaning of its own"),
        ("  Birds: {source", "  Skin: {source: {name: idx}}\n  skin!: {source", "both would use the name skin for files"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(tmp_path, old, new, said):
    assert old in GRID
    with pytest.raises(RecipeError) as error:
        _load(tmp_path, GRID.replace(old, new))
    assert said in str(error.value)


def test_all_mistakes_are_named_at_once_and_each_once(tmp_path):
    with pytest.raises(RecipeError) as error:
        _load(tmp_path, GRID.replace("latent: 4", "latent: none").replace("limit: 10", "limit: -1"))
    assert len(error.value.problems) == 1, "the structure of the file comes first"
    with pytest.raises(RecipeError) as error:
        _load(tmp_path, GRID.replace("latent: 4", "latent: none").replace("isic_image", "isic_imag"))
    assert len(error.value.problems) == 2


def test_published_figures_stand_beside_cohorts_of_the_file_only(tmp_path):
    published = "published:\n  title: A paper\n  beside:\n    RSNA:\n      AE: [0.5, [0.4, 0.01], null]\n"
    with pytest.raises(RecipeError, match=r"published\.beside\.RSNA: is no cohort of this file"):
        _load(tmp_path, GRID + published)
    grid = _load(tmp_path, GRID + published.replace("RSNA", "Chests"))
    assert grid.published is not None
    assert grid.published.beside["Chests"]["AE"] == [0.5, (0.4, 0.01), None]


def test_names_become_folders():
    assert slug("NIH (adult), 64 px") == "nih-adult-64-px"
    assert slug("§") == "unnamed"


@pytest.mark.parametrize("path", shipped("benchmarks"), ids=lambda path: path.stem)
def test_the_benchmarks_that_come_with_medood_have_no_mistakes(path):
    grid = load_grid(path)
    assert len({job.place for job in grid.jobs}) == len(grid.jobs) >= len(grid.cohorts) * len(grid.detectors)


@pytest.mark.parametrize("name", ["cvad_table2", "cvad_table3"])
def test_the_paper_s_tables_have_the_paper_s_rows(name):
    grid = load_grid(name)
    assert grid.cohorts == ("RSNA", "IVC-Filter", "SIIM")
    assert grid.detectors == ("AE", "VAE", "pchVAE", "DeepSVDD", "GANomaly", "f-AnoGAN", "CVAD")
    assert grid.published is not None
    assert all(set(rows) == set(grid.detectors) and {len(row) for row in rows.values()} == {3} for rows in grid.published.beside.values())
    assert {name: len(sets) for name, sets in grid.outliers.items()} == dict.fromkeys(grid.cohorts, 0 if name == "cvad_table2" else 3)


def test_the_tables_of_one_paper_share_their_runs():
    second, third, fourth = (load_grid(f"cvad_table{number}") for number in (2, 3, 4))
    assert [job.recipe for job in second.jobs] == [job.recipe for job in third.jobs]
    assert {job.place: job.recipe for job in third.jobs if job.detector == "CVAD"} == {job.place: job.recipe for job in fourth.jobs}


def test_a_benchmark_is_checked_as_recipes_are(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID, encoding="utf-8")
    assert check_file(path) == (path, [job.recipe for job in load_grid(path).jobs])
    path.write_text(GRID.replace("latent: 4", "laten: 4"), encoding="utf-8")
    with pytest.raises(RecipeError, match="laten: unknown key"):
        check_file(path)
