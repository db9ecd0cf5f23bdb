"""From files to series: what the source `folder` makes of a whole folder, made of groups of files that have to be looked at together.

Only groups with a file that is new, changed or gone are made anew, so that a grown archive costs what is new. The rules are those of the
sources, which are asked about some files at a time; only numbers (of patients, of series that share a folder) are given by the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from medood.core.volume import Entry, Problem
from medood.index.database import Database
from medood.index.facts import Recorder
from medood.index.names import shown, stored
from medood.sources.dicom.entries import DicomEntry, entry_of, patient_key, series_order, stack_name
from medood.sources.dicom.headers import read_header
from medood.sources.dicom.library import quiet
from medood.sources.dicom.planes import Plane
from medood.sources.dicom.series import stacks_of
from medood.sources.folder import Folder, is_of_dicom
from medood.sources.nifti import masks_in
from medood.sources.recall import Question, Token, remembering
from medood.sources.roles import masks_by_name

_FILES, _DICOM = 0, 1  # stages of problems
_PAGE = 5000  # files at a time, and the rest of the last group

Row = tuple[Any, ...]

_CANDIDATES = "select name from files where kind = ? and problem is null and by_name in (select key from again)"
_KNOWN_MAPS = """
select name, is_map from label_maps union all
select name, cast(json_extract(answers, '$.label_map.value') as boolean) from files
where kind = 'nifti' and contains(answers, '"label_map"')
"""
_BY_NAME = """
select f.name, f.answers, f.by_name from files f join again a on f.by_name = a.key join present p on p.name = f.name order by p.place
"""
_BY_STUDY = """
with those as (
    select f.name, f.answers, f.by_study, f.kind, coalesce(m.with_study, f.by_study) as cluster, p.place
    from files f join again a on f.by_study = a.key join present p on p.name = f.name left join merged m on m.study = f.by_study)
select * exclude (place) from those order by min(place) over (partition by cluster), place
"""
_SHARED = """
with shared as (
    select {uid}, min(by_study) as least from files where patient is not null and {uid} <> ''
    group by {uid} having min(by_study) <> max(by_study))
select distinct f.by_study, s.least from files f join shared s on f.{uid} = s.{uid} where f.patient is not null
"""
_ENTRIES = """
create or replace table entries as
with patients as (
    select patient, row_number() over (order by min(p.place)) as number from files f join present p on p.name = f.name
    where patient is not null group by patient),
numbered as (
    select *, count(*) over (partition by name) as sharing, row_number() over (partition by name order by series, first_file, nth) as number
    from drafts where kind = 'dicom' and exists (select 1 from files where kind = 'dicom' and not hidden))
select * from (
    select if(sharing > 1, n.name || '#' || n.number, n.name) as id, format('patient-{:04d}', p.number) as patient, slices, kind, modality,
        manufacturer, weighting, body_part, view, kvp, study_uid, series as series_uid, issues, content
    from numbered n join patients p on p.patient = n.patient
    union all
    select name, patient, slices, kind, modality, manufacturer, weighting, body_part, view, kvp, study_uid, series, issues, content
    from drafts where kind <> 'dicom')
order by id
"""


class Page:
    """A memory of the files of some rows, which begin with name and answers."""

    def __init__(self, root: Path, rows: Iterable[Sequence[Any]], token: Token) -> None:
        self.token = token
        self._kept: dict[Path, str] = {root / shown(row[0]): row[1] for row in rows}
        self._asked: dict[Path, Recorder] = {}

    def get(self, question: Question, path: Path) -> Any:
        return self._of(path).get(question, path)

    def put(self, question: Question, path: Path, answer: Any) -> None:
        self._of(path).put(question, path, answer)

    def added(self, question: Question) -> list[tuple[Path, Any]]:
        """Answers to one question that were not in the rows."""
        return [(path, of.answers[question]) for path, of in self._asked.items() if question in of.answers and path not in self._kept]

    def _of(self, path: Path) -> Recorder:
        if path not in self._asked:
            self._asked[path] = Recorder(self.token, json.loads(self._kept.get(path, "{}")))
        return self._asked[path]


def group(database: Database, root: Path, token: Token) -> None:
    """Bring entries and problems up to date with the files. However it ends before it is done, the next call does it again."""
    if not database.one("select count(*) from touched"):
        return
    with database.together():
        _choose(database)
        for table in ("drafts", "problems"):
            database.run(f"delete from {table} where owner in (select key from again)")
    pictures = masks_by_name(lambda: (shown(name) for (name,) in database.rows(_CANDIDATES, ["image"])))
    volumes = _label_maps(database, root, token)
    for rows in _pages(database.rows(_BY_NAME)):
        with remembering(Page(root, rows, token)), database.together():
            _add_files(database, Folder(root), rows, pictures, volumes)
    for rows in _pages(database.rows(_BY_STUDY), whole=lambda row: row[4]):
        with remembering(Page(root, rows, token)), database.together(), quiet():
            found = [_series(root, list(cluster)) for _, cluster in groupby(rows, key=lambda row: row[4])]
            database.insert("drafts", [draft for drafts, _ in found for draft in drafts])
            database.insert("problems", [problem for _, problems in found for problem in problems])
    with database.together():
        database.run(_ENTRIES)
        database.run("delete from touched")


def _choose(database: Database) -> None:
    """Fill `again` with the touched groups, and with studies that are or were merged with one of them, and bring `merged` up to date."""
    before = list(database.rows("select study, with_study from merged"))
    edges = [edge for uid in ("series_uid", "sop_uid") for edge in database.rows(_SHARED.format(uid=uid))]
    database.run("create or replace table again as select distinct key from touched")
    database.run("delete from merged")
    if not (before or edges):
        return
    database.insert("merged", sorted(_roots(edges).items()))
    roots = _roots([*before, *edges])
    touched = {roots[study] for study in roots if database.one("select 1 from again where key = ?", [study])}
    database.insert("again", [(study,) for study, root in roots.items() if root in touched])
    database.run("create or replace table again as select distinct key from again")


def _roots(edges: Iterable[Sequence[str]]) -> dict[str, str]:
    """The least member of the component of every node of a graph."""
    root: dict[str, str] = {}

    def find(node: str) -> str:
        while root.setdefault(node, node) != node:
            root[node] = node = root[root[node]]
        return node

    for one, other in edges:
        low, high = sorted((find(one), find(other)))
        root[high] = low
    return {node: find(node) for node in root}


def _label_maps(database: Database, root: Path, token: Token) -> Mapping[str, str]:
    """Volumes that are masks, with their cases; which volumes are label maps takes a look at voxels, and is kept."""
    kept = database.rows(_KNOWN_MAPS)
    known = Page(root, ((name, json.dumps({"label_map": {"value": is_map}})) for name, is_map in kept), token)
    with remembering(known):
        masks = masks_in((shown(name) for (name,) in database.rows(_CANDIDATES, ["nifti"])), lambda name: root / name)
    new = known.added("label_map")
    with database.together():
        database.insert("label_maps", [(stored(path.relative_to(root).as_posix()), answer["value"]) for path, answer in new])
    return masks


def _pages(rows: Iterable[Row], whole: Callable[[Row], Any] | None = None) -> Iterator[list[Row]]:
    """Some rows at a time; those that agree in `whole` follow each other and stay together."""
    page: list[Row] = []
    for row in rows:
        if len(page) >= _PAGE and (whole is None or whole(row) != whole(page[-1])):
            yield page
            page = []
        page.append(row)
    if page:
        yield page


def _add_files(database: Database, folder: Folder, rows: Sequence[Row], pictures: Collection[str], volumes: Mapping[str, str]) -> None:
    owners = {shown(name): owner for name, _, owner in rows}
    kinds, entries, problems = folder.by_file([folder.root / name for name in owners], pictures, volumes)
    database.insert("drafts", [_draft(entry, kinds[entry.files[0]], owners[entry.id]) for entry in entries])
    database.insert("problems", [_problem(problem, _FILES, owners[problem.path]) for problem in problems])


def _series(root: Path, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Drafts of the series of a cluster of studies, and its problems."""
    kinds = {shown(row[0]): row[3] for row in rows}
    owners = {shown(row[0]): row[2] for row in rows}
    planes: list[Plane] = []
    problems: list[Problem] = []
    for name in owners:
        header = read_header(root / name, name)
        if isinstance(header, Problem):
            problems.append(header)
        else:
            planes += header
    stacks, wrong = stacks_of(planes, "skip")
    drafts = []
    for nth, stack in enumerate(stacks):
        first = stack.planes[0]
        entry = entry_of(stack, stack_name(stack, root), stored(patient_key(first)))
        drafts.append(_draft(entry, "dicom", owners[first.file.name], (*series_order(stack), nth), root))
    told = [problem for problem in (*problems, *wrong) if is_of_dicom(problem, kinds.get(problem.path))]
    return drafts, [_problem(problem, _DICOM, owners[(*problem.files, problem.path)[0]]) for problem in told]


def _draft(entry: Entry, kind: str, owner: str, order: tuple[str, str, int] = ("", "", 0), root: Path | None = None) -> Row:
    """A row of the table `drafts`; `content` is what only reading the entry needs, nothing where the id is the file."""
    series, first_file, nth = order
    origin = entry.origin
    content = None
    if root is not None:
        files = [path.relative_to(root).as_posix() for path in entry.files]
        frames = entry.frames if isinstance(entry, DicomEntry) else ()
        content = json.dumps({"files": files, "sops": origin.sop_uids, "frames": frames}, separators=(",", ":"))
    words = origin.modality, origin.manufacturer, origin.weighting, origin.body_part, origin.view, origin.kvp, origin.study_uid
    placed = stored(entry.id), series, stored(first_file), nth, stored(entry.group), entry.slices
    return kind, owner, *placed, *words, ";".join(entry.issues), content


def _problem(problem: Problem, stage: int, owner: str) -> Row:
    files = json.dumps(problem.files)
    return stage, owner, stored(problem.path), problem.code, stored(problem.message), problem.study_uid, problem.series_uid, files
