"""The page in a real browser, and what must never be in it."""

from __future__ import annotations

import base64
import csv
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from dicom_writer import write_series
from export_phantoms import GEOMETRIES, LESION, blob

from medood.core.errors import InputError, MedoodError
from medood.data.opening import open_source
from medood.export.maps import write_map, write_mask
from medood.reporting.cohort import read_cohort
from medood.scoring.held_out import held_out_scores
from medood.tasks.looking.report import report

GEOMETRY = GEOMETRIES["oblique"]
HOSTILE = '<img src=x onerror="window.hacked=1">\u2028</script><script>window.hacked=1</script>{{DATA}}'
COLUMNS = [
    "level",
    "id",
    "slice",
    "group",
    "score",
    "p_value",
    "decision",
    "status",
    "reason",
    "in_domain",
    "domain_reason",
    "issues",
    "examined",
]


def write_scores(folder: Path, rows: list[dict[str, Any]], **facts: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    known = {"run": "demo", "detector": "vae", "threshold": 0.5, "series_threshold": 0.6, "complete": True}
    known["held_out_scores"] = {"image": [0.1, 0.2, 0.3], "series": [0.2, 0.4]}
    (folder / "scores.json").write_text(json.dumps(known | facts))
    return folder / "scores.csv"


def entry(identifier: str, score: float, **more: Any) -> dict[str, Any]:
    decision = "anomalous" if score > 0.5 else "normal"
    return {"level": "image", "id": identifier, "group": identifier, "score": score, "p_value": 1 - score, "decision": decision} | {
        "status": "ok",
        "examined": 0.9,
        **more,
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored series with its map and labels, 150 pictures, one of them out of domain, and one with a hostile name."""
    folder = tmp_path_factory.mktemp("place")
    root, maps = folder / "images", folder / "maps"
    values = np.full(GEOMETRY.shape, 100, np.uint16)
    values[..., ::2] = 900
    write_series(root / "scan", values, GEOMETRY)
    maps.mkdir()
    (found,) = open_source("dicom", root).index().entries
    write_map(maps / "scan_map.nrrd", blob(GEOMETRY, LESION), GEOMETRY)
    lesion = blob(GEOMETRY, LESION) > 0.6
    write_mask(folder / "lesion.nrrd", lesion, GEOMETRY)
    count = GEOMETRY.shape[0]
    line = {"id": found.id, "name": "scan", "map": "scan_map.nrrd", "axis": 0, "slices": list(range(count))}
    line |= {"box": [[0, GEOMETRY.shape[0]], [0, GEOMETRY.shape[1] - 3], [0, GEOMETRY.shape[2]]]}
    (maps / "maps.jsonl").write_text(json.dumps(line) + "\n")
    header = {"version": 2, "run": "demo", "scale": {"low": 0.3, "high": 1.0, "threshold": 0.3}}
    (maps / "maps.json").write_text(json.dumps(header | {"source": {"name": "dicom", "root": str(root), "parameters": {}}}))
    slices = [entry(found.id, round(k / 20, 3), level="slice", slice=k) for k in range(count)]
    rows = [*slices, entry(found.id, 0.97, level="series", issues="gantry_tilt:3.0;lossy")]
    rows += [entry(f"pictures/{number:03d}.png", number / 200) for number in range(148)]
    rows += [
        entry("odd.png", 0.4, decision="out_of_domain", in_domain="no", domain_reason="modality MR"),
        entry(HOSTILE, 0.99, issues="burned_in"),
    ]
    write_scores(folder, rows)
    labels = [f"{found.id},{k},{int(lesion[k].any())},{found.id},lesion.nrrd\n" for k in range(count)]
    pictures = [f"pictures/{number:03d}.png,,{int(number > 100)},{number},\n" for number in range(148)]
    whole = f"{found.id},,1,{found.id},lesion.nrrd\n"
    (folder / "labels.csv").write_text("id,slice,label,group,mask\n" + whole + "".join([*labels, *pictures]))
    return folder


@pytest.fixture(scope="module")
def page(place: Path) -> Path:
    options = {"maps": place / "maps", "labels": place / "labels.csv", "with_images": True, "bootstraps": 20}
    return report(place / "scores.csv", place / "report.html", **options)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("no Chromium is installed (Debian: chromium)")
    with Browser(tmp_path / "browser") as found:
        yield found


def shown(browser: Browser, column: int = 2) -> list[str]:
    return browser.ask(f"[...document.querySelectorAll('#rows tbody td:nth-child({column})')].map((cell) => cell.textContent)")


def choose(browser: Browser, control: str, value: str) -> None:
    change = f"const c = document.getElementById('{control}'); c.value = {json.dumps(value)}; c.dispatchEvent(new Event('input'));"
    browser.ask(f"(() => {{ {change} }})()")


def test_the_page_opens_without_an_error_asks_nobody_and_runs_nothing_of_the_data(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.wait("document.body.dataset.ready === 'yes'")
    assert browser.errors == []
    assert browser.asked == [page.resolve().as_uri()]
    assert browser.ask("window.hacked") is None
    assert shown(browser)[0].replace("\n", " ") == HOSTILE.replace("\n", " ")
    assert browser.ask("document.querySelectorAll('#rows img, #rows script').length") == 0


def test_the_table_sorts_filters_and_turns_pages(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.wait("document.body.dataset.ready === 'yes'")
    assert browser.ask("document.getElementById('count').textContent") == "151 of 163 rows"
    assert len(shown(browser)) == 100
    scores = [float(text) for text in shown(browser, 4)]
    assert scores == sorted(scores, reverse=True)
    browser.ask("document.querySelectorAll('#rows th button')[3].click()")
    scores = [float(text) for text in shown(browser, 4)]
    assert scores == sorted(scores)
    assert browser.ask("document.querySelectorAll('#rows th')[3].getAttribute('aria-sort')") == "ascending"
    browser.ask("document.getElementById('next').click()")
    assert len(shown(browser)) == 51
    choose(browser, "search", "ODD")
    assert shown(browser) == ["odd.png"]
    choose(browser, "search", "")
    choose(browser, "filter-domain", "no")
    assert shown(browser) == ["odd.png"]
    choose(browser, "filter-domain", "")
    choose(browser, "filter-level", "slice")
    assert browser.ask("document.getElementById('count').textContent") == "12 of 163 rows"
    choose(browser, "filter-decision", "anomalous")
    assert shown(browser, 3) == ["11"]
    assert browser.errors == []


def test_a_case_opens_at_its_hottest_slice_and_moves_through_the_others(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.wait("document.body.dataset.ready === 'yes'")
    browser.ask("document.querySelector('#hottest button').click()")
    browser.wait("document.body.dataset.open === '0'")
    assert browser.ask("document.getElementById('view').dataset.slice") == str(LESION[0])
    hot = "(() => { const v = document.getElementById('view'); const d = v.getContext('2d').getImageData(0, 0, v.width, v.height).data;"
    hot += " let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i] - Math.min(d[i + 1], d[i + 2]) > 10) n += 1; return n; })()"
    assert browser.ask("document.getElementById('contours').offsetParent !== null")
    coloured = browser.ask(hot)
    assert coloured > 5
    choose(browser, "opacity", "0")
    assert browser.ask(hot) == 0
    browser.ask("document.getElementById('reset').click()")
    assert browser.ask(hot) == coloured
    choose(browser, "threshold", "255")
    assert browser.ask(hot) == 0
    choose(browser, "threshold", "1")
    assert browser.ask(hot) > coloured
    browser.ask("document.getElementById('reset').click()")
    outlined = browser.ask(hot)
    browser.ask("document.getElementById('contours').click()")
    assert browser.ask(hot) > outlined  # the outline of the lesion covered some of the map
    browser.press("ArrowDown")
    assert browser.ask("document.getElementById('view').dataset.slice") == str(LESION[0] + 1)
    browser.press("Home")
    assert browser.ask("document.getElementById('view').dataset.slice") == "0"
    assert browser.ask(hot) < coloured
    assert browser.errors == []


def test_the_histogram_begins_with_the_level_that_has_held_out_normals(tmp_path: Path, browser: Browser) -> None:
    rows = [*(entry("scan", k / 10, level="slice", slice=k) for k in range(8)), entry("scan", 0.7, level="series")]
    scores = write_scores(tmp_path, rows, held_out_scores={"image": [0.1, 0.2, 0.3]})
    browser.open(report(scores, tmp_path / "page.html"))
    browser.wait("document.body.dataset.ready === 'yes'")
    assert browser.ask("document.getElementById('histogram-level').value") == "slice"
    write_scores(tmp_path, rows)
    browser.open(report(scores, tmp_path / "page.html"))
    browser.wait("document.body.dataset.ready === 'yes'")
    assert browser.ask("document.getElementById('histogram-level').value") == "series"


def test_what_is_not_known_is_said_and_controls_have_names(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.wait("document.body.dataset.ready === 'yes'")
    unnamed = "[...document.querySelectorAll('input, select, textarea')].filter((each) => !each.labels.length).length"
    assert browser.ask(unnamed) == 0
    assert browser.ask("[...document.querySelectorAll('button')].filter((each) => !each.textContent.trim()).length") == 0
    assert browser.ask("document.querySelectorAll('h1').length") == 1
    assert browser.ask("document.documentElement.lang") == "en"


def test_it_prints(page: Path, browser: Browser, tmp_path: Path) -> None:
    browser.open(page)
    browser.wait("document.body.dataset.ready === 'yes'")
    assert browser.printed(tmp_path / "page.pdf") > 10_000


def arrays(page: Path) -> dict[str, bytes]:
    found = re.findall(r'<script type="application/octet-stream" id="case-(\d+-\w+)">([^<]*)</script>', page.read_text(encoding="utf-8"))
    return {name: zlib.decompress(base64.b64decode(content)) for name, content in found}


def test_images_of_patients_are_there_only_when_they_are_asked_for(place: Path, page: Path) -> None:
    assert set(arrays(page)) == {"0-map", "0-image", "0-mask", "0-hidden"}
    bare = report(place / "scores.csv", place / "bare.html", maps=place / "maps")
    assert set(arrays(bare)) == {"0-map", "0-hidden"}
    stored = np.frombuffer(arrays(bare)["0-map"], np.uint8)
    assert stored.size == np.prod(GEOMETRY.shape)
    assert "Secret" not in page.read_text(encoding="utf-8")


def test_the_evaluation_can_be_copied(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<figure>") >= 3
    assert "\\begin{table}" in text
    assert "average precision" in text


def test_nothing_of_the_template_is_left_and_the_script_is_the_one_that_the_policy_names(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert re.findall(r"{{[A-Z_]+}}", text.replace("{{DATA}}", "")) == []
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_a_table_of_another_version_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(
        "level,id,score,in_domain,domain_p,domain_reason\nimage,a.png,0.5,False,0.001,too bright\nimage,b.png,,,,\n"
    )
    cohort = read_cohort(tmp_path / "scores.csv")
    rows = [dict(zip(cohort.to_dict()["columns"], row, strict=True)) for row in cohort.rows]
    assert [(row["id"], row["score"], row["domain"], row["why"]) for row in rows] == [
        ("a.png", 0.5, "no", "too bright"),
        ("b.png", None, "", ""),
    ]
    assert any("no scores.json" in remark for remark in cohort.remarks)
    assert report(tmp_path / "scores.csv", tmp_path / "report.html").is_file()


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "level,id,score\nimage,a.png,much\n", ""])
def test_what_is_no_table_of_scores_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(InputError):
        report(tmp_path / "scores.csv", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_page_must_be_called_a_page(tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match=r"ends in \.html"):
        report(write_scores(tmp_path, [entry("a", 0.1)]), tmp_path / "report.pdf")


def test_remarks_say_what_was_examined_and_what_is_unlike_the_training(place: Path) -> None:
    said = " ".join(read_cohort(place / "scores.csv").remarks)
    assert "151 series or images were scored" in said
    assert "90.0% was examined" in said
    assert "1 inputs are unlike those of the training" in said


def test_of_many_held_out_scores_enough_are_kept() -> None:
    scores = np.arange(10_001) / 10_000
    kept = held_out_scores(scores.tolist())
    assert (len(kept), kept[0], kept[-1]) == (2000, 0.0, 1.0)
    assert np.abs(np.diff(kept) - 1 / 1999).max() < 2e-4
    assert held_out_scores([0.123456789]) == [0.123457]
