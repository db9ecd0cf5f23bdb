"""How large a report is, and how long a browser takes to open it: a table of 2,000 images, and a scored series that you have.

    python measurements/report_page.py [--rows 2000] [--scores SCORES.csv --maps MAPS] [--pictures FOLDER]

"seconds" is from the address to a page whose table, histogram and first case are drawn, in a headless Chromium that is running already;
median of five. `--pictures` keeps what the page of SCORES.csv looks like, as PNG.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from measuring import table

from medood.tasks.looking.report import report

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))  # tells a browser what to do
from browser import CHROMIUM, Browser


def generated(folder: Path, rows: int) -> Path:
    """A table of scored pictures."""
    values = np.random.default_rng(0).random(rows)
    lines = ["level,id,group,score,p_value,decision,status,in_domain,domain_p,examined,issues"]
    for number, value in enumerate(values):
        decision = "anomalous" if value > 0.95 else "normal"
        lines.append(f"image,pictures/{number:05d}.png,patient-{number // 2},{value:.6g},{1 - value:.4g},{decision},ok,yes,0.5,1.0,")
    (folder / "scores.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "scores.json").write_text(json.dumps({"run": "generated", "complete": True}), encoding="utf-8")
    return folder / "scores.csv"


def opened(page: Path, folder: Path, picture: Path | None = None) -> float:
    """Seconds, median of five."""
    with Browser(folder / "browser", size=(1280, 1500)) as browser:
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            browser.open(page)
            browser.wait("document.body.dataset.ready === 'yes'")
            taken.append(time.perf_counter() - started)
        if picture is not None:
            browser.picture(picture)
        if browser.errors:
            raise SystemExit(f"{page}: the browser found errors: {browser.errors}")
    return median(taken)


def row(what: str, page: Path, seconds: float) -> dict[str, str]:
    return {"page": what, "size": f"{page.stat().st_size / 1e6:.1f} MB", "seconds": f"{seconds:.2f}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--maps", type=Path)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    if not CHROMIUM:
        raise SystemExit("No Chromium is installed (Debian: chromium).")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = report(generated(folder, arguments.rows), folder / "table.html")
        rows = [row(f"{arguments.rows:,} rows", page, opened(page, folder))]
        if arguments.scores:
            page = report(arguments.scores, folder / "cases.html", maps=arguments.maps, with_images=True)
            picture = arguments.pictures / "report.png" if arguments.pictures else None
            rows.append(row(arguments.scores.name, page, opened(page, folder, picture)))
    print(table(rows))


if __name__ == "__main__":
    main()
