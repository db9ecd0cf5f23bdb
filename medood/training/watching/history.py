"""One line of JSON for every epoch."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from medood.core.detector import Epoch
from medood.core.errors import InputError
from medood.core.files.atomic import write_text


class History:
    """`history.jsonl` in the run's folder: appended and flushed once an epoch.

    A line: {"phase", "epoch", "iteration" (since the phase began), "seconds" (of this epoch's training), "learning_rate" {optimizer: rate},
    "losses" {name: mean over the epoch's iterations}, "validation" (mean over the held-out images, or null)}.
    """

    def __init__(self, folder: Path, keep: int = 0) -> None:
        """Opens the file with its first `keep` lines; later ones belong to an epoch that will be done again."""
        path = folder / "history.jsonl"
        kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[:keep] if keep and path.is_file() else []
        write_text(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8", newline="\n")
        self.lines = len(kept)

    def append(self, values: dict[str, Any]) -> None:
        self._file.write(json.dumps(values, allow_nan=False) + "\n")
        self._file.flush()
        self.lines += 1

    def __enter__(self) -> History:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def read_history(folder: Path) -> list[Epoch]:
    """All epochs of a run in order; none where it has no `history.jsonl`. Raises InputError naming a line that is damaged."""
    path = folder / "history.jsonl"
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [_epoch(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def _epoch(text: bytes, where: str) -> Epoch:
    try:
        line = json.loads(text)
        losses = {str(name): float(value) for name, value in line["losses"].items()}
        validation = None if line["validation"] is None else float(line["validation"])
        return Epoch(str(line["phase"]), int(line["epoch"]), losses, validation)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{where}: this is not a line of a training history: restore the file from a copy.") from error
