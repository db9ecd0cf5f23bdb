"""scores.parquet holds what scores.csv would, goes on where it was stopped, and is read wherever scores.csv is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from spread_trials import rows_of, same_rows, small_run, write_images, write_picture

from medood.core.errors import MedoodError, TableError
from medood.core.files import parquet_file
from medood.core.files.table_file import read_cells
from medood.scoring import stream
from medood.scoring.parquet_table import continue_parquet, table_in_work
from medood.tasks.judging.evaluate import evaluate
from medood.tasks.scoring.score import score_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of the same images as CSV and as Parquet."""
    folder = tmp_path_factory.mktemp("parquet")
    small_run(folder)
    write_images(folder / "images", pictures=12)
    write_picture(folder / "images" / "=1+1.png", 7)
    for name in ("scores.csv", "scores.parquet"):
        score(folder, folder / name)
    return folder


def score(place: Path, out: Path, **options: Any) -> Any:
    return score_folder(place / "run", place / "images", out, device="cpu", **options)


def test_both_hold_the_same(place: Path) -> None:
    assert read_cells(place / "scores.parquet") == read_cells(place / "scores.csv")
    assert not table_in_work(place / "scores.parquet").exists()
    found = pq.read_table(place / "scores.parquet").to_pylist()
    for theirs, ours in zip(rows_of(place / "scores.csv"), found, strict=True):
        assert ours["score"] == (float(theirs["score"]) if theirs["score"] else None)
        assert ours["slice"] == (int(theirs["slice"]) if theirs["slice"] else None)
        assert ours["decision"] == (theirs["decision"] or None)
    assert "=1+1.png" in {row["id"] for row in found}  # without the apostrophe that guards a spreadsheet


def test_a_finished_one_and_one_that_was_stopped_go_on(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, seen = tmp_path / "scores.parquet", []
    whole = stream.rows_of

    def stops(item: Any, *more: Any) -> Any:
        if len(seen) == 6:
            raise KeyboardInterrupt
        seen.append(item.entry.id)
        return whole(item, *more)

    with monkeypatch.context() as patch:
        patch.setattr(stream, "rows_of", stops)
        with pytest.raises(KeyboardInterrupt):
            score(place, out)
    assert not out.exists()
    with pytest.raises(MedoodError, match="already there"):
        score(place, out)
    assert score(place, out, resume=True).scored == 16 - 6
    assert read_cells(out) == read_cells(place / "scores.csv")
    again = score(place, out, resume=True)
    assert (again.scored, again.failed, again.rows) == (0, 1, 0)
    assert read_cells(out) == read_cells(place / "scores.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"scores.parquet", "scores.json"}


def test_the_csv_of_a_parquet_file_is_the_csv(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    out.write_bytes((place / "scores.parquet").read_bytes())
    continue_parquet(out)
    assert table_in_work(out).read_text(encoding="utf-8") == (place / "scores.csv").read_text(encoding="utf-8")
    assert same_rows(table_in_work(out), place / "scores.csv")


def test_parquet_is_evaluated_as_csv_is(place: Path, tmp_path: Path) -> None:
    names = [row["id"] for row in rows_of(place / "scores.csv") if row["level"] == "image" and not row["id"].startswith("'")]
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\n" + "".join(f"{name},{number % 2}\n" for number, name in enumerate(names)), encoding="utf-8")
    reports = [evaluate(place / name, labels, out=tmp_path / name, bootstraps=20) for name in ("scores.csv", "scores.parquet")]
    assert reports[0].to_dict() == reports[1].to_dict()


def test_damage_is_told_in_a_sentence(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = tmp_path / "scores.parquet"
    cut.write_bytes((place / "scores.parquet").read_bytes()[:-30])
    for content in (cut.read_bytes(), b"", b"PAR1 no table PAR1"):
        cut.write_bytes(content)
        with pytest.raises(TableError, match=r"scores\.parquet: (this is no Parquet file|cannot be opened)"):
            read_cells(cut)
    with pytest.raises(TableError, match="cannot be opened"):
        read_cells(tmp_path / "none.parquet")
    monkeypatch.setattr(parquet_file, "find_spec", lambda name: None)
    for call in (lambda: read_cells(cut), lambda: score(place, tmp_path / "new.parquet")):
        with pytest.raises(MedoodError, match=r"needs PyArrow: run `pip install medood\[cluster\]`"):
            call()
    with pytest.raises(MedoodError, match=r"ends in \.csv or \.parquet"):
        score(place, tmp_path / "scores.txt")
