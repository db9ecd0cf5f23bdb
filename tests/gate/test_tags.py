"""What headers say, one difference at a time, in words that a reader understands."""

from __future__ import annotations

from typing import Any

import pytest

from medood.gate.tags import differences, fit_tags, missing_tags
from medood.sources.kind import body_part, view, weighting_in

HEAD = {
    "modality": "MR",
    "weighting": "FLAIR",
    "body_part": "head",
    "view": "",
    "manufacturer": "SIEMENS",
    "kvp": None,
    "channels": 1,
    "plane": "axial",
    "pixel_mm": [1.0, 1.0],
}
CHEST = HEAD | {"modality": "DX", "weighting": "", "body_part": "chest", "view": "frontal", "plane": None, "kvp": 100.0, "pixel_mm": None}
PICTURE = dict.fromkeys(HEAD, "") | {"channels": 1, "plane": None, "pixel_mm": None, "kvp": None}
MR = fit_tags([HEAD, HEAD | {"pixel_mm": [0.9, 1.1]}])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"plane": "sagittal", "weighting": "T1"}, "a sagittal T1-weighted image, trained on axial FLAIR"),
        ({"modality": "CT"}, "a CT, trained on MR"),
        ({"body_part": "knee", "plane": "sagittal"}, "a sagittal knee, trained on axial head"),
        ({"channels": 3}, "a colour image, trained on grey ones"),
        ({"pixel_mm": [2.0, 2.0]}, "pixels of 2.00 x 2.00 mm, trained on 0.90 to 1.10 mm"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_each_difference_is_named_and_nothing_else(change: dict[str, Any], reason: str) -> None:
    assert differences(MR, HEAD | change, plane_is_chosen=False) == [reason]


def test_an_image_of_the_same_kind_has_no_difference() -> None:
    assert differences(MR, HEAD | {"pixel_mm": [1.4, 0.7]}, plane_is_chosen=False) == []


def test_the_plane_of_acquisition_does_not_matter_when_the_transforms_choose_one() -> None:
    assert differences(MR, HEAD | {"plane": "sagittal"}, plane_is_chosen=True) == []


def test_what_a_file_does_not_say_is_not_held_against_it() -> None:
    assert differences(MR, PICTURE, plane_is_chosen=False) == []
    assert differences(fit_tags([PICTURE]), CHEST, plane_is_chosen=False) == []


def test_a_volume_is_no_picture() -> None:
    assert differences(fit_tags([PICTURE]), HEAD, plane_is_chosen=False) == ["an axial MR, trained on pictures"]


def test_kilovoltage_and_view_of_radiographs_count() -> None:
    tags = fit_tags([CHEST, CHEST | {"kvp": 120.0}])
    assert differences(tags, CHEST | {"kvp": 150.0}, False) == []
    assert differences(tags, CHEST | {"kvp": 60.0}, False) == ["60 kVp, trained on 100 to 120 kVp"]
    assert differences(tags, CHEST | {"view": "lateral"}, False) == ["a lateral image, trained on frontal"]


def test_another_maker_is_no_reason_by_itself_but_is_named_beside_one() -> None:
    assert differences(MR, HEAD | {"manufacturer": "GE"}, False) == []
    assert differences(MR, HEAD | {"manufacturer": "GE", "modality": "CT"}, False)[1] == "from GE, trained on images from SIEMENS"


def test_tags_that_no_training_image_has_are_named() -> None:
    assert missing_tags(MR) == ["view", "kVp"]
    assert set(missing_tags(fit_tags([PICTURE]))) >= {"modality", "pixel size", "manufacturer"}


def test_descriptions_become_words_of_our_own() -> None:
    said = ["t2_tirm_tra_dark-fluid", "T1 MPRAGE sag", "ep2d_diff_ADC", "t2_tse", "pd_tse", "Mr Smith, spine"]
    assert [weighting_in(text) for text in said] == ["FLAIR", "T1", "DWI", "T2", "PD", ""]
    assert (body_part("BRAIN"), body_part("KNEE"), view("PA"), view("LL"), view("")) == ("head", "knee", "frontal", "lateral", "")
