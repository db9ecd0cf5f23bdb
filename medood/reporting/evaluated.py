"""An evaluation as a part of the page: tables that can be copied as Markdown and LaTeX, and figures."""

from __future__ import annotations

import base64
import tempfile
from html import escape
from pathlib import Path

from medood.evaluation.report import Report
from medood.evaluation.report_figures import write_figures
from medood.evaluation.report_tables import tables
from medood.export.table_model import Table, best_cells, printed
from medood.export.tables import as_latex, as_markdown

_FIGURES = {
    "scores": "Histograms of the scores of normal and of anomalous rows, with the threshold of the run",
    "roc": "ROC curves with a 95 % band by patient, the threshold of the run and the best trivial feature",
    "precision": "Precision-recall curves with a 95 % band by patient, and chance",
    "froc": "FROC curve: sensitivity for lesions by false findings per scan",
}


def evaluation_html(report: Report) -> str:
    """All tables, figures, notes and warnings; every text is escaped."""
    remarks = [("warning", text) for text in report.warnings] + [("note", text) for text in report.notes]
    said = "".join(f'<li class="{kind}">{escape(text)}</li>' for kind, text in remarks)
    parts = [f'<ul class="remarks">{said}</ul>' if said else "", _figures(report), *map(table_html, tables(report))]
    return (
        f'<section id="evaluation" aria-labelledby="evaluation-title"><h2 id="evaluation-title">Evaluation</h2>{"".join(parts)}</section>'
    )


def table_html(table: Table) -> str:
    """A table with its notes, and the same for a document, to be copied."""
    best = best_cells(table)
    over = "".join(f'<th colspan="{span}" scope="colgroup">{escape(title)}</th>' for title, span in table.groups)
    heads = "".join(f'<th scope="col">{escape(f"{table.arrow(c)}{name}")}</th>' for c, name in enumerate(table.columns))
    body = []
    for b, block in enumerate(table.blocks):
        if block.title:
            body.append(f'<tr><th colspan="{len(table.columns) + 1}" scope="rowgroup" class="block">{escape(block.title)}</th></tr>')
        for r, row in enumerate(block.rows):
            cells = [(printed(cell, table), (b, r, c) in best) for c, cell in enumerate(row.cells)]
            shown = "".join(
                f"<td{' class=best' if good else ''}>{escape(f'{p.value}{p.spread} {p.interval}'.strip())}</td>" for p, good in cells
            )
            body.append(f'<tr><th scope="row">{escape(row.name)}</th>{shown}</tr>')
    grouped = f"<tr><td></td>{over}</tr>" if any(title for title, _ in table.groups) else ""
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in table.notes)
    head = f"<caption>{escape(table.title)}</caption><thead>{grouped}<tr><td></td>{heads}</tr></thead>"
    whole = f"<table class=numbers>{head}<tbody>{''.join(body)}</tbody></table>"
    return f"<div class=scroll>{whole}</div>{notes}{_copies(table)}"


def _copies(table: Table) -> str:
    forms = {"Markdown": as_markdown(table), "LaTeX": as_latex(table)}
    boxes = "".join(
        f'<label>{form} <textarea readonly rows="4" spellcheck="false">{escape(text)}</textarea></label>'
        f'<button type="button" class="copy">Copy {form}</button>'
        for form, text in forms.items()
    )
    return f"<details class=copies><summary>Copy this table</summary>{boxes}</details>"


def _figures(report: Report) -> str:
    with tempfile.TemporaryDirectory() as folder:
        write_figures(report, Path(folder))
        found = {name: Path(folder) / f"{name}.svg" for name in _FIGURES}
        made = [(name, base64.b64encode(path.read_bytes()).decode()) for name, path in found.items() if path.is_file()]
    shown = "".join(
        f'<figure><img src="data:image/svg+xml;base64,{content}" alt="{escape(_FIGURES[name])}">'
        f"<figcaption>{escape(_FIGURES[name])}</figcaption></figure>"
        for name, content in made
    )
    return f"<div class=figures>{shown}</div>"
