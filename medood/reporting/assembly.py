"""The page itself: a template, its style and its script in one file, with data that can never be taken for any of them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from medood.export.colours import OPACITY, colour_table
from medood.reporting.cases import Case
from medood.reporting.cohort import Cohort

_SCRIPTS = ("viewer.js", "cohort.js", "page.js")


@dataclass(frozen=True, eq=False)
class Page:
    """What is on a page. `cases` by id; `evaluation` is HTML that is safe already."""

    title: str
    facts: Mapping[str, str]
    remarks: Sequence[str]
    cohort: Cohort
    cases: Mapping[str, Case]
    evaluation: str
    with_images: bool

    def html(self) -> str:
        script = "\n".join(_asset(name) for name in _SCRIPTS)
        cases = [_case(number, identifier, case) for number, (identifier, case) in enumerate(self.cases.items())]
        told = self.cohort.to_dict() | {"cases": [case[0] for case in cases], "palette": _palette(), "opacity": OPACITY}
        parts = {
            "POLICY": _policy(script),
            "TITLE": escape(self.title),
            "STYLE": _asset("page.css"),
            "FACTS": "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in self.facts.items()),
            "REMARKS": "".join(f"<li>{escape(remark)}</li>" for remark in self.remarks),
            "CASES_HIDDEN": "" if cases else "hidden",
            "IMAGES": "" if self.with_images else "The images themselves are left out: the map alone is shown. --with-images puts them in.",
            "EVALUATION": self.evaluation,
            "DATA": safe_json(told),
            "ARRAYS": "".join(case[1] for case in cases),
            "SCRIPT": script,
        }
        text = _asset("page.html")
        pieces = []
        while "{{" in text:  # once through the template: what is put in is not searched again
            before, _, rest = text.partition("{{")
            name, _, text = rest.partition("}}")
            pieces += [before, parts[name]]
        return "".join([*pieces, text])


def safe_json(value: Any) -> str:
    """JSON that ends no script element, whatever texts are in it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _case(number: int, identifier: str, case: Case) -> tuple[dict[str, Any], str]:
    """What the script is told of a case, and the elements that hold its arrays."""
    packed = case.packed()
    elements = "".join(
        f'<script type="application/octet-stream" id="case-{number}-{name}">{content}</script>\n' for name, content in packed.items()
    )
    picture = "data:image/png;base64," + base64.b64encode(case.picture).decode()
    return case.facts | {"id": identifier, "picture": picture, "arrays": list(packed)}, elements


def _palette() -> str:
    return base64.b64encode(np.ascontiguousarray(colour_table()).tobytes()).decode()


def _policy(script: str) -> str:
    """The page may run its own script and nothing else, and may load nothing at all."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return files("medood.reporting").joinpath("page", name).read_text(encoding="utf-8")
