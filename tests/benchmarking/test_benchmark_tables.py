"""A benchmark's results as tables: every number encodes where it belongs, so that a cell in the wrong place shows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from medood.benchmarking.tables import tables
from medood.core.errors import MedoodError
from medood.export.tables import Block, Number, Row, Table, as_csv, as_latex, as_markdown, as_text
from medood.recipe.benchmarks.comparison import Bounded, Comparison, Ranked

COHORTS = ("RSNA", "IVC-Filter")
DETECTORS = ("AE", "CVAD")
OUTLIERS = {"RSNA": ("BIRD", "SIIM"), "IVC-Filter": ("BIRD", "RSNA")}
PARTS = {"CVAD": {"CVAD G": "generator", "CVAD D": "discriminator"}}
LAYOUTS = ("intra", "inter", "components", "auroc")


def auroc(cohort: str, detector: str, against: str, part: int = 0) -> float:
    """0.5 + hundreds: cohort, tens: detector and part, ones: set."""
    at = (COHORTS.index(cohort), DETECTORS.index(detector) + 2 * part, ("intra", *OUTLIERS[cohort]).index(against))
    return 0.5 + at[0] / 10 + at[1] / 100 + at[2] / 1000


def bounded(value: float) -> Bounded:
    return Bounded(value, value - 0.05, value + 0.05, 0.004)


def ranked(value: float, direction: str = "higher", seeds: Sequence[float] = (0.0,)) -> Ranked:
    by_seed = tuple(value + seed for seed in seeds)
    return Ranked(bounded(value), bounded(value - 0.3), bounded(value - 0.1), by_seed, direction)


def comparison(cohort: str, detector: str, against: str) -> Comparison:
    value = auroc(cohort, detector, against)
    parts = {name: ranked(auroc(cohort, "AE", against, at)) for at, name in enumerate(("generator", "discriminator"), 1)}
    return Comparison(
        cohort=cohort,
        detector=detector,
        against=against,
        level="image",
        normal=1885,
        anomalous=1200 if against == "intra" else 77,
        patients=1900,
        seeds=(0, 1) if detector == "CVAD" else (0,),
        score=ranked(value, seeds=(-0.02, 0.01) if detector == "CVAD" else (0.0,)),
        gated=ranked(value + 0.3),
        parts=parts if detector == "CVAD" else {},
        plain={"sharpness": ranked(0.9, "lower"), "mean": ranked(0.8, "lower" if cohort == "RSNA" else "higher")},
        run_fpr=bounded(value - 0.45),
        run_tpr=bounded(value - 0.25),
        false_alarm_rate=0.05,
    )


def every_comparison() -> Iterator[Comparison]:
    for cohort in COHORTS:
        for detector in DETECTORS:
            for against in ("intra", *OUTLIERS[cohort]):
                yield comparison(cohort, detector, against)


def made(layouts: Sequence[str] = LAYOUTS, found: Sequence[Comparison] | None = None, **changes: Any) -> dict[str, Table]:
    grid = {"cohorts": COHORTS, "detectors": DETECTORS, "outliers": OUTLIERS, "parts": PARTS} | changes
    result = tables(tuple(every_comparison()) if found is None else found, layouts=layouts, **grid)
    assert len({table.name for table in result}) == len(result)
    return {table.name: table for table in result}


def block(table: Table, start: str) -> Block:
    (found,) = [block for block in table.blocks if block.title.startswith(start)]
    return found


def row(rows: Sequence[Row], name: str) -> Row:
    (found,) = [row for row in rows if row.name == name]
    return found


def values(row: Row) -> list[float | str | None]:
    return [round(cell.value, 6) if isinstance(cell, Number) else cell for cell in row.cells]


def near(numbers: Sequence[float]) -> list[float]:
    return [round(number, 6) for number in numbers]


def rates(cohort: str, detector: str) -> list[float]:
    value = auroc(cohort, detector, "intra")
    return near((value - 0.3, value - 0.1, value))


def test_intra_has_fpr_tpr_and_auc_of_each_cohort() -> None:
    table = made(["intra"])["intra"]
    assert table.groups == (("RSNA", 3), ("IVC-Filter", 3))
    assert table.columns == ("FPR", "TPR", "AUC") * 2
    assert table.best == ("low", "high", "high") * 2
    ours = table.blocks[0].rows
    assert [each.name for each in ours] == ["AE", "CVAD"]
    assert [values(each) for each in ours] == [rates("RSNA", name) + rates("IVC-Filter", name) for name in DETECTORS]
    assert ".610±.004*" in as_text(table)
    assert "[" not in as_text(table)


def test_intra_thresholds_put_the_deployable_threshold_beside_the_oracle() -> None:
    table = made(["intra"])["intra_thresholds"]
    assert table.headings == ("AUC", "Oracle threshold FPR", "Oracle threshold TPR", "Deployable threshold FPR", "Deployable threshold TPR")
    assert values(row(block(table, "IVC-Filter").rows, "CVAD")) == near((0.61, 0.31, 0.51, 0.16, 0.36))
    assert table.best[3:] == (None, None)
    assert ".610* [.560, .660]" in as_text(table)
    assert any("oracle threshold: chosen on the test labels" in note and "optimistic" in note for note in table.notes)
    assert any("deployable threshold: from held-out normal images for 5 % false alarms" in note for note in table.notes)


def test_inter_has_a_block_per_cohort_that_names_its_sets() -> None:
    table = made(["inter"])["inter"]
    assert table.columns == ("InterClass1", "InterClass2")
    assert [each.title for each in table.blocks] == [
        "RSNA (InterClass1 BIRD, InterClass2 SIIM)",
        "IVC-Filter (InterClass1 BIRD, InterClass2 RSNA)",
    ]
    assert values(row(block(table, "RSNA").rows, "CVAD")) == near((0.511, 0.512))
    assert values(row(block(table, "IVC").rows, "AE")) == near((0.601, 0.602))


def test_in_inter_each_detector_stands_with_and_without_its_gate() -> None:
    found = made(["inter", "intra", "auroc"])
    ours = [each for each in block(found["inter"], "RSNA").rows if each.kind == "ours"]
    assert [each.name for each in ours] == ["AE", "AE, with the gate", "CVAD", "CVAD, with the gate"]
    assert values(ours[1]) == near((0.801, 0.802))
    assert any(note.startswith("With the gate") for note in found["inter"].notes)
    assert not any("gate" in each.name for name in ("intra", "auroc") for each in found[name].blocks[0].rows)


def test_inter_names_the_sets_in_the_headings_where_all_cohorts_share_them() -> None:
    table = made(["inter"], cohorts=("RSNA",), outliers={"RSNA": OUTLIERS["RSNA"]})["inter"]
    assert table.columns == ("InterClass1 (BIRD)", "InterClass2 (SIIM)")
    assert [each.title for each in table.blocks] == ["RSNA"]


def test_inter_leaves_cells_empty_where_a_cohort_has_fewer_sets() -> None:
    table = made(["inter"], outliers={"RSNA": ("BIRD", "SIIM"), "IVC-Filter": ("BIRD",)})["inter"]
    assert values(row(block(table, "IVC").rows, "AE")) == [0.601, ""]
    assert block(table, "IVC").title == "IVC-Filter (InterClass1 BIRD)"


def test_components_are_parts_then_the_whole_against_all_sets() -> None:
    table = made(["components"])["components"]
    assert table.columns == ("IntraClass", "InterClass1", "InterClass2")
    ours = [each for each in block(table, "IVC").rows if each.kind == "ours"]
    assert [each.name for each in ours] == ["CVAD G", "CVAD D", "CVAD"]
    assert [values(each) for each in ours] == [near((0.62, 0.621, 0.622)), near((0.64, 0.641, 0.642)), near((0.61, 0.611, 0.612))]


def test_auroc_has_cohorts_as_columns_and_a_second_table_of_parts() -> None:
    found = made(["auroc"])
    assert found["auroc"].columns == COHORTS
    assert [values(each) for each in found["auroc"].blocks[0].rows] == [near((0.5, 0.6)), near((0.51, 0.61))]
    assert [each.name for each in found["auroc_parts"].blocks[0].rows] == ["CVAD G", "CVAD D", "CVAD"]
    assert values(found["auroc_parts"].blocks[0].rows[1]) == near((0.54, 0.64))
    assert ".510±.004* [.460, .560]" in as_text(found["auroc"])


def test_tables_without_content_are_left_out() -> None:
    assert set(made(parts={}, outliers={"RSNA": (), "IVC-Filter": ()})) == {"intra", "intra_thresholds", "auroc"}


@pytest.mark.parametrize("name", ["intra", "intra_thresholds", "inter", "components", "auroc", "auroc_parts"])
def test_trivial_features_are_the_last_rows_with_their_direction(name: str) -> None:
    table = made()[name]
    shared = len(table.blocks) == 2 and table.blocks[1].title == "Trivial features"
    for rows in [(*table.blocks[0].rows, *table.blocks[1].rows)] if shared else [each.rows for each in table.blocks]:
        kinds = [each.kind for each in rows]
        assert kinds == sorted(kinds, key=("ours", "trivial").index)
        assert "sharpness (lower)" in [each.name for each in rows if each.kind == "trivial"]


def test_a_trivial_feature_is_empty_where_its_other_direction_is_better() -> None:
    trivial = made(["auroc"])["auroc"].blocks[1].rows
    assert values(row(trivial, "mean intensity (lower)")) == [0.8, ""]
    assert values(row(trivial, "mean intensity (higher)")) == ["", 0.8]
    assert values(row(trivial, "sharpness (lower)")) == [0.9, 0.9]


def test_the_strongest_trivial_feature_is_shown_when_detectors_see_other_images() -> None:
    found = [replace(each, plain={"mean": ranked(0.7 if each.detector == "AE" else 0.75)}) for each in every_comparison()]
    assert values(row(made(["auroc"], found)["auroc"].blocks[1].rows, "mean intensity (higher)")) == [0.75, 0.75]


def test_missing_results_are_dashes_with_their_reason() -> None:
    gone = [("RSNA", "AE"), ("IVC-Filter", "CVAD")]
    found = [each for each in every_comparison() if (each.cohort, each.detector) not in gone]
    table = made(["intra"], found, failed={gone[1]: "the loss is not\n a number."})["intra"]
    assert values(row(table.blocks[0].rows, "AE"))[:3] == [None, None, None]
    assert "–" in as_text(table)
    assert "– AE on RSNA: not done yet." in table.notes
    assert "– CVAD on IVC-Filter: the loss is not a number." in table.notes


def test_a_missing_set_and_a_failed_seed_are_named() -> None:
    found = [each for each in every_comparison() if (each.cohort, each.detector, each.against) != ("RSNA", "AE", "SIIM")]
    table = made(["inter"], found, failed={("RSNA", "CVAD"): "seed 2 ran out of memory"})["inter"]
    assert values(row(block(table, "RSNA").rows, "AE")) == [0.501, None]
    assert "– AE on RSNA against SIIM: not done yet." in table.notes
    assert "Some seeds are missing: CVAD on RSNA: seed 2 ran out of memory." in table.notes


def test_a_reason_is_given_once() -> None:
    found = [each for each in every_comparison() if (each.cohort, each.detector, each.against) != ("RSNA", "AE", "SIIM")]
    notes = made(["inter"], found, failed={("RSNA", "AE"): "SIIM: no image has a score."})["inter"].notes
    assert [note for note in notes if "no image has a score" in note] == ["– AE on RSNA against SIIM: SIIM: no image has a score."]


def test_a_run_without_a_threshold_and_a_number_that_is_none_are_dashes() -> None:
    found = [replace(each, run_fpr=None, run_tpr=None, level="series") for each in every_comparison()]
    found[0] = replace(found[0], score=replace(found[0].score, auroc=Bounded(math.nan)))
    table = made(["intra"], found)["intra_thresholds"]
    assert values(row(block(table, "RSNA").rows, "AE")) == [None, *near((0.2, 0.4)), None, None]
    assert "– AE on RSNA, IVC-Filter; CVAD on RSNA, IVC-Filter: the run has no threshold for series." in table.notes
    assert "– AE on RSNA: cannot be computed from these scores." in table.notes


def test_a_component_that_the_scores_lack_is_named() -> None:
    table = made(["components"], parts={"CVAD": {"CVAD X": "nonesuch"}})["components"]
    assert values(row(block(table, "RSNA").rows, "CVAD X")) == [None] * 3
    assert "– CVAD on RSNA, IVC-Filter: the scores have no component nonesuch." in table.notes


def test_hindsight_is_one_more_row_with_the_best_component_of_every_column_and_says_so() -> None:
    better = {("RSNA", "intra"): "nu_1", ("RSNA", "BIRD"): "nu_2", ("IVC-Filter", "intra"): "nu_2"}
    found = []
    for each in every_comparison():
        if each.detector == "AE":
            best = better.get((each.cohort, each.against), "nu_1")
            parts = {"nu_1": ranked(0.6), "nu_2": ranked(0.6), "other": ranked(0.99)} | {best: ranked(0.7)}
            each = replace(each, parts=parts)
        found.append(each)
    made_tables = made(found=found, hindsight={"AE": "nu_*"}, parts={})
    table = made_tables["auroc"]
    assert [line.name for line in table.blocks[0].rows] == ["AE", "AE, hindsight", "CVAD"]
    assert values(row(table.blocks[0].rows, "AE, hindsight")) == [0.7, 0.7]
    assert values(row(block(made_tables["inter"], "RSNA").rows, "AE, hindsight")) == [0.7, 0.7]
    assert values(row(table.blocks[0].rows, "AE")) == [auroc(cohort, "AE", "intra") for cohort in COHORTS]
    (note,) = [note for note in table.notes if note.startswith("AE, hindsight")]
    assert "best of 2 settings" in note
    assert "by the labels of the test" in note
    assert ".700*" not in as_text(table)  # it does not take part in who is best
    deployable = row(block(made_tables["intra_thresholds"], "RSNA").rows, "AE, hindsight")
    assert values(deployable)[3:] == ["", ""]


PUBLISHED = {
    "title": "A paper, Tables II to IV",
    "beside": {
        "RSNA": {
            "AE": [[0.318, 0.014], 0.461, (0.566, 0.004), 0.677, 0.608],
            "CVAD": [0.327, 0.646, 0.696],
            "CVAD G": [0.602, 0.854, None],
            "f-AnoGAN": [0.365, 0.541, 0.614, 0.842, 0.693],
        }
    },
    "apart": {"SIIM (paper)": {"AE": [0.42, 0.714, 0.673, 0.572, 0.013, 0.752], "CVAD D": [0.724, 0.874]}},
}


def test_published_figures_follow_our_row_and_keep_their_standard_deviation() -> None:
    rows = made(["intra", "inter", "components"], published=PUBLISHED)["intra"].blocks[0].rows
    assert [(each.name, each.kind) for each in rows] == [
        ("AE", "ours"),
        ("AE, published", "published"),
        ("CVAD", "ours"),
        ("CVAD, published", "published"),
        ("f-AnoGAN, published", "published"),
    ]
    assert rows[1].cells == (Number(0.318, spread=0.014), Number(0.461), Number(0.566, spread=0.004), "", "", "")


def test_published_figures_of_outlier_sets_land_in_their_columns() -> None:
    found = made(["intra", "inter", "components"], published=PUBLISHED)
    rsna = block(found["inter"], "RSNA").rows
    assert values(row(rsna, "AE, published")) == [0.677, 0.608, ""]
    assert values(row(rsna, "f-AnoGAN, published")) == [0.842, 0.693, ""]
    assert "CVAD, published" not in [each.name for each in rsna]
    assert not [each for each in block(found["inter"], "IVC").rows if each.kind == "published"]
    parts = block(found["components"], "RSNA").rows
    assert [each.name for each in parts[:5]] == ["CVAD G", "CVAD G, published", "CVAD D", "CVAD", "CVAD, published"]
    assert values(parts[1]) == [0.602, 0.854, ""]
    assert "f-AnoGAN, published" not in [each.name for each in parts]
    assert values(parts[4]) == [0.696, "", ""]


def test_figures_on_other_data_stand_apart_under_the_publications_own_cohort() -> None:
    found = made(["intra", "inter", "components"], published=PUBLISHED)
    for name in ("intra", "intra_thresholds"):
        assert not [each for each in found[name].blocks if "SIIM (paper)" in each.title]
        assert not [cell for each in found[name].blocks for line in each.rows for cell in values(line) if cell in (0.42, 0.714, 0.673)]
    own = found["intra_published"]
    assert own.title.startswith("Published, on other data, not comparable")
    assert (own.groups, values(own.blocks[0].rows[0])) == ((("SIIM (paper)", 3),), [0.42, 0.714, 0.673])
    assert [line.name for line in own.blocks[0].rows] == ["AE"]
    apart = found["inter"].blocks[-1]
    assert apart.title == "Published, on other data, not comparable: SIIM (paper)"
    assert [(line.name, line.kind, values(line)) for line in apart.rows] == [("AE", "published", [0.572, 0.013, 0.752])]
    assert found["inter"].columns == ("InterClass1", "InterClass2", "InterClass3")
    assert [(line.name, values(line)) for line in found["components"].blocks[-1].rows] == [("CVAD D", [0.724, 0.874, ""])]


def test_published_auroc_alone_and_of_parts() -> None:
    published = {
        "title": "Another paper",
        "beside": {"RSNA": {"AE": [0.59], "CVAD G": [0.954]}},
        "apart": {"BraTS": {"OCSVM": [0.958], "CVAD": [0.96], "CVAD D": [0.953]}, "ISIC": {"OCSVM": [0.95]}},
    }
    found = made(["auroc"], published=published)
    assert [(line.name, values(line)) for line in found["auroc"].blocks[0].rows][1] == ("AE, published", [0.59, ""])
    assert [line.name for line in found["auroc_parts"].blocks[0].rows] == ["CVAD G", "CVAD G, published", "CVAD D", "CVAD"]
    assert found["auroc_published"].columns == ("BraTS", "ISIC")
    assert [(line.name, values(line)) for line in found["auroc_published"].blocks[0].rows] == [
        ("OCSVM", [0.958, 0.95]),
        ("CVAD", [0.96, ""]),
    ]
    assert found["auroc_parts_published"].columns == ("BraTS",)
    assert {line.name for line in found["auroc_parts_published"].blocks[0].rows} == {"CVAD", "CVAD D"}


@pytest.mark.parametrize("numbers", [[0.1], [0.1] * 4, [0.1] * 6])
def test_a_published_row_of_another_length_is_refused_before_anything_is_trained(numbers: list[float]) -> None:
    with pytest.raises(MedoodError, match=rf"'AE' on 'RSNA': expected 3 or 5 numbers, found {len(numbers)}"):
        made(["intra", "inter"], [], published={"title": "t", "beside": {"RSNA": {"AE": numbers}}})


def test_seeds_go_to_the_csv_and_to_the_notes() -> None:
    found = made(["auroc"])["auroc"]
    assert found.blocks[0].rows[0].cells[0].seeds is None
    assert found.blocks[0].rows[1].cells[1].seeds == pytest.approx((0.59, 0.62))
    assert "2 seeds (0, 1), numbers are their means: CVAD." in found.notes
    assert "1 seed: AE." in found.notes
    assert any("furthest apart for CVAD on" in note and (".590 to .620" in note or ".490 to .520" in note) for note in found.notes)
    assert "AUROC IVC-Filter highest seed" in as_csv(found).splitlines()[0]


def test_a_detector_with_other_seeds_on_one_cohort_is_named_with_it() -> None:
    found = [replace(each, seeds=(0,)) if each.cohort == "RSNA" else each for each in every_comparison()]
    notes = made(["auroc"], found)["auroc"].notes
    assert "1 seed: AE; CVAD on RSNA." in notes
    assert "2 seeds (0, 1), numbers are their means: CVAD on IVC-Filter." in notes


def test_notes_count_images_and_patients() -> None:
    found = made()
    assert "RSNA: 1,885 normal images against 1,200 anomalous (1,900 patients)." in found["intra"].notes
    assert "RSNA: 1,885 normal images against 77 of BIRD (1,900 patients), 77 of SIIM (1,900 patients)." in found["inter"].notes
    fewer = [replace(each, normal=1884, level="slice") if each.detector == "AE" else each for each in every_comparison()]
    notes = made(["intra"], fewer)["intra"].notes
    assert "RSNA, AE: 1,884 normal slices against 1,200 anomalous (1,900 patients)." in notes
    assert "RSNA, CVAD: 1,885 normal images against 1,200 anomalous (1,900 patients)." in notes


def test_notes_explain_only_the_signs_that_are_printed() -> None:
    found = made(published=PUBLISHED)
    below = {name: " ".join(table.notes) for name, table in found.items()}
    signs = {name: ("Brackets" in text, "10 bootstraps" in text) for name, text in below.items()}
    assert (signs["intra"], signs["intra_thresholds"], signs["inter"]) == ((False, True), (True, False), (True, True))
    assert any("A paper, Tables II to IV" in note for note in found["intra"].notes)
    assert not any("oracle" in note for note in found["inter"].notes)


def test_two_results_for_the_same_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="same cohort"):
        made(["intra"], [*every_comparison(), comparison("RSNA", "AE", "intra")])


@pytest.mark.parametrize("found", [[], None])
def test_every_table_can_be_printed_in_every_form(found: list[Comparison] | None) -> None:
    for table in made(found=found, published=PUBLISHED).values():
        for text in (as_text(table, 120), as_markdown(table), as_latex(table), as_csv(table)):
            assert "nan" not in text
            assert "None" not in text


def test_numbers_that_are_none_are_null_in_json() -> None:
    broken = Ranked(Bounded(math.nan), Bounded(0.1, math.nan, 0.2), Bounded(0.3), (math.nan, 0.5), "lower")
    whole = replace(comparison("RSNA", "AE", "BIRD"), score=broken, run_fpr=None, run_tpr=None, false_alarm_rate=None)
    found = json.loads(json.dumps(whole.to_dict(), allow_nan=False))
    assert found["score"]["auroc"] == {"value": None, "low": None, "high": None, "spread": None}
    assert found["score"]["oracle_fpr"] == {"value": 0.1, "low": None, "high": 0.2, "spread": None}
    assert found["score"]["by_seed"] == [None, 0.5]
    assert (found["run_fpr"], found["false_alarm_rate"], found["against"]) == (None, None, "BIRD")
