"""Which normal images are trained on, held out, and set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from medood.core.errors import TrainingError
from medood.core.volume import Entry, Index
from medood.data.split import split
from medood.recipe.loading import load_recipe
from medood.recipe.recipe import Split


def _entry(name: str, group: str, label: int | None = 0, part: str | None = None, **more) -> Entry:
    return Entry(name, (Path(name),), group, label=label, part=part, **more)


def _split(entries: list[Entry], **shares: float) -> tuple[set[str], set[str]]:
    recipe = load_recipe("isic_ae").model_copy(update={"split": Split(**shares)})
    parts = split(Index(Path("images"), tuple(entries)), recipe)
    return {e.id for e in parts.train}, {e.id for e in parts.held_out}


TWENTY = [_entry(f"{i:02d}{side}", f"patient {i}") for i in range(20) for side in "lr"]


def test_patients_are_never_divided_and_shares_are_of_patients():
    train, held_out = _split(TWENTY, held_out=0.25, test=0.2)
    patients = [{name[:2] for name in part} for part in (train, held_out)]
    assert [len(part) for part in patients] == [11, 5]
    assert not patients[0] & patients[1]
    assert len(train) == 22, "both images of every patient"


def test_setting_aside_for_a_test_changes_nothing_about_who_is_held_out():
    assert _split(TWENTY, held_out=0.25)[1] == _split(TWENTY, held_out=0.25, test=0.4)[1]
    assert _split(TWENTY, held_out=0.25, test=0.4)[0] < _split(TWENTY, held_out=0.25)[0]


def test_patients_with_anomalies_are_set_aside_as_a_whole_where_there_is_a_test():
    anomaly = _entry("03x", "patient 3", label=1)
    for part in _split([*TWENTY, anomaly], held_out=0.25, test=0.1):
        assert not {name for name in part if name.startswith("03")}
    together = set.union(*_split([*TWENTY, anomaly], held_out=0.25))
    assert together == {e.id for e in TWENTY}, "without a test their normal images are used, and the anomaly never is"


def test_an_empty_label_beside_labels_means_leave_out():
    unknown = _entry("99", "patient 1", label=None)
    masked = _entry("98", "patient 1", label=None, mask=Path("mask.nii"))
    used = set.union(*_split([*TWENTY, unknown, masked], held_out=0.25))
    assert used == {e.id for e in TWENTY} | {"98"}


def test_without_any_label_every_image_is_normal():
    entries = [_entry(e.id, e.group, label=None) for e in TWENTY]
    assert set.union(*_split(entries, held_out=0.25)) == {e.id for e in TWENTY}


def test_the_parts_of_a_table_are_followed():
    entries = [_entry("a", "1", part="train"), _entry("b", "2", part="val"), _entry("c", "3", part="test"), _entry("d", "4")]
    assert _split(entries) == ({"a", "d"}, {"b"})


def test_too_few_patients_for_all_parts_are_refused():
    with pytest.raises(TrainingError, match=r"2 patient\(s\) cannot be split"):
        _split(TWENTY[:4], held_out=0.5, test=0.5)
