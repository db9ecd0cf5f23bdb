"""The folder beside scores.csv through which workers hand over rows: a part file for every unit, whole or of no account."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from medood.core.errors import MedoodError
from medood.core.files.atomic import atomic_file

_TOKEN = "here"


@dataclass(frozen=True)
class Scores:
    """The rows of an entry, and its line in the list of maps, if it has a map."""

    id: str
    rows: Sequence[dict[str, Any]]
    line: dict[str, Any] | None = None


@dataclass(frozen=True)
class Part:
    """What the scoring of a unit gave. `counts` and `seconds` are named as in `Outcome`."""

    scores: Sequence[Scores]
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Parts:
    """The part files of one driver, in a folder of its own: what a worker of an earlier one still writes does not get among them."""

    def __init__(self, out: Path) -> None:
        self.root = out.with_name(f".{out.name}.parts")
        self.token = uuid4().hex
        self.folder = self.root / self.token[:12]

    def make(self) -> None:
        """Raises MedoodError when it cannot be made."""
        try:
            self.folder.mkdir(parents=True)
            (self.folder / _TOKEN).write_text(self.token, encoding="utf-8")
        except OSError as error:
            raise MedoodError(f"Cannot write {self.folder}: {error.strerror or error}. Choose another --out.") from error

    def earlier(self) -> Iterator[Path]:
        """What drivers that were stopped have not taken over."""
        for folder in sorted(self.root.iterdir()):
            if folder.is_dir() and folder != self.folder:
                yield from sorted(folder.glob("*.json"))

    def forget_earlier(self) -> None:
        for folder in self.root.iterdir():
            if folder != self.folder:
                shutil.rmtree(folder, ignore_errors=True)

    def of(self, unit: str) -> Path:
        return part_file(self.folder, unit)

    def remove(self) -> None:
        """All of it: nothing in it is needed any more."""
        shutil.rmtree(self.root, ignore_errors=True)

    def remove_own(self) -> None:
        """The folder of this driver, and the rest if there is nothing else in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()


def part_file(folder: Path, unit: str) -> Path:
    return folder / f"{unit}.json"


def sees(folder: Path, token: str) -> bool:
    """Whether this is the driver's folder, and not another of the same name on another machine."""
    try:
        return (folder / _TOKEN).read_text(encoding="utf-8") == token
    except OSError:
        return False


def write_part(path: Path, part: Part) -> None:
    """Raises MedoodError when it cannot be written, or the driver has gone and taken its folder along."""
    if not path.parent.is_dir():
        raise MedoodError("the scoring that asked for it has ended.")
    content = {
        "scores": [{"id": scores.id, "rows": scores.rows, "line": scores.line} for scores in part.scores],
        "counts": part.counts,
        "seconds": part.seconds,
    }
    with atomic_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, default=lambda value: value.item()), encoding="utf-8")


def read_part(path: Path) -> Part | None:
    """None when there is none, or it was cut short: then it is no JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scores = [Scores(each["id"], each["rows"], each["line"]) for each in content["scores"]]
        return Part(scores, content["counts"], content["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
