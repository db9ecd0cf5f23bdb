"""CelebA: photographs of faces, and what a table says of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from medood.core.errors import MedoodError, TableError
from medood.core.files.table_file import Mistakes, mistakes_of, read_cells
from medood.core.volume import Entry, Index, Volume
from medood.sources.cohorts.publisher_table import check_present, listed, number_patients
from medood.sources.image import Image
from medood.sources.indexing import files_below, index_files

_FOLDER = "img_align_celeba"
_ATTRIBUTES, _PARTITION, _IDENTITY = "list_attr_celeba", "list_eval_partition", "identity_CelebA"
_TEST = "2"

Value = TypeVar("Value")


@dataclass(frozen=True)
class _Face:
    """attribute  whether the photograph has it;  person  an opaque name, where the publisher tells."""

    attribute: bool
    person: str | None
    test: bool


class Celeba:
    """CelebA, aligned and cropped: faces with and without an attribute, such as Male.

    ```
    root/img_align_celeba/000001.jpg
    root/list_attr_celeba.txt       the number of rows, the names of 40 attributes, 000001.jpg -1 1 ...; list_attr_celeba.csv will do
         list_eval_partition.txt    000001.jpg 0; or .csv
         identity_CelebA.txt        000001.jpg 2880; if it is there, the photographs of a person keep together
    ```
    The publisher's test part is our "test"; the training and the validation part are to be split.

    attribute  a column of the table: "Male", "Smiling", "Eyeglasses", ...
    normal     whether the faces with the attribute are normal (true) and the others anomalous, or the other way round (false); null: no
               labels are known, so that training takes every image
    """

    def __init__(self, root: Path, *, attribute: str = "Male", normal: bool | None = None) -> None:
        self.root, self.attribute, self.normal = Path(root), attribute, normal
        self._image = Image(self.root)

    def index(self) -> Index:
        """Raises MedoodError when the images or a table are missing, or a table has a mistake, with its line."""
        check_present(self.root, (_FOLDER,), "CelebA")
        attributes, partition = self._table(_ATTRIBUTES), self._table(_PARTITION)
        faces = _faces(attributes, partition, self._identities(), self.attribute)
        pictures = [path for path in files_below(self.root / _FOLDER) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
        chosen, problems = listed(index_files(self.root, pictures, self._image.entry), _FOLDER, faces, attributes.name)
        entries = [self._entry(entry, face) for entry, face in chosen]
        return Index(self.root, tuple(entries), tuple(problems))

    def read(self, entry: Entry) -> Volume:
        return self._image.read(entry)

    def _entry(self, entry: Entry, face: _Face) -> Entry:
        label = None if self.normal is None else int(face.attribute != self.normal)
        name = self.attribute if face.attribute else f"not {self.attribute}"
        group = face.person or entry.files[0].stem
        return replace(entry, group=group, label=label, part="test" if face.test else None, class_name=name)

    def _table(self, name: str) -> Path:
        paths = [self.root / f"{name}{ending}" for ending in (".txt", ".csv")]
        found = next((path for path in paths if path.is_file()), None)
        if found is None:
            raise MedoodError(f"{self.root}: {name}.txt missing: CelebA needs it beside {_FOLDER}; {name}.csv will do.")
        return found

    def _identities(self) -> Path | None:
        path = self.root / f"{_IDENTITY}.txt"
        return path if path.is_file() else None


def _faces(attributes: Path, partition: Path, identity: Path | None, attribute: str) -> dict[str, _Face]:
    """By the name of the file without its ending. Raises TableError."""
    values = _attribute(attributes, attribute)
    parts = _second(partition, ("0", "1", _TEST))
    people = {} if identity is None else _second(identity)
    numbers = number_patients(people.values())
    if lacking := sorted(values.keys() - parts.keys()):
        raise TableError([f"{partition}: {len(lacking)} images of {attributes.name} have no row, such as {lacking[0]}; download it again."])
    return {name: _Face(value, numbers.get(people.get(name, "")), parts[name] == _TEST) for name, value in values.items()}


def _attribute(path: Path, attribute: str) -> dict[str, bool]:
    """Which images have an attribute. Raises TableError."""
    rows = _rows(path)
    start = next((at for at, (_, cells) in enumerate(rows) if len(cells) > 1), len(rows))  # the text has the number of rows above the names
    names = [cell for cell in rows[start][1] if cell != "image_id"] if start < len(rows) else []
    if attribute not in names:
        near = get_close_matches(attribute, names, n=1)
        known = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}."
        raise TableError([f"{path}: no column is called {attribute!r}; {known}"])
    column = names.index(attribute) + 1
    found: dict[str, bool] = {}
    with mistakes_of(path) as mistakes:
        for line, cells in rows[start + 1 :]:
            if len(cells) != len(names) + 1 or cells[column] not in ("1", "-1"):
                mistakes.add(line, f"expected an image and {len(names)} times 1 or -1.")
            else:
                _add(found, cells[0], cells[column] == "1", line, mistakes)
    return found


def _second(path: Path, allowed: tuple[str, ...] = ()) -> dict[str, str]:
    """What stands beside each image in a table of two columns."""
    found: dict[str, str] = {}
    with mistakes_of(path) as mistakes:
        for line, cells in _rows(path):
            if cells[0] == "image_id":
                continue
            if len(cells) != 2 or (allowed and cells[1] not in allowed):
                mistakes.add(line, f"expected an image and {' or '.join(allowed) or 'a number'}.")
            else:
                _add(found, cells[0], cells[1], line, mistakes)
    return found


def _add(found: dict[str, Value], image: str, value: Value, line: int, mistakes: Mistakes) -> None:
    stem = Path(image).stem
    if stem in found:
        mistakes.add(line, f"{image} stands in an earlier row already; keep one of the two rows.")
    found[stem] = value


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Lines and their cells, apart by spaces in a text and by commas in a CSV."""
    return [(line, cells if path.suffix == ".csv" else cells[0].split()) for line, cells in read_cells(path)]
