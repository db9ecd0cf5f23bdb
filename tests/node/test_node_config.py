"""The configuration: every mistake at once, with the nearest key."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from medood.core.errors import RecipeError
from medood.node.archives.multipart import only_part
from medood.node.config import load_config, sections

GOOD = """
folder: queue
receive: {calling: [SCANNER], port: 11113}
stow: {url: "https://pacs.example.org/dicom-web", credentials: PACS, tls: {ca: authority.pem}}
"""


def problems(tmp_path: Path, text: str) -> str:
    (tmp_path / "node.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_config(tmp_path / "node.yaml")
    return str(caught.value).replace(str(tmp_path), "")


def test_paths_begin_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(GOOD, encoding="utf-8")
    config = load_config(tmp_path / "node.yaml")
    assert config.folder == tmp_path / "queue"
    assert config.stow
    assert config.stow.tls
    assert config.stow.tls.ca == tmp_path / "authority.pem"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("folder: queue", "foldr: queue", "node.yaml:2: foldr: unknown key; did you mean 'folder'?"),
        ("port: 11113", "prt: 11113", "node.yaml:3: receive.prt: unknown key; did you mean 'port'?"),
        ("ca: authority.pem", "cert: a.pem", "node.yaml:4: stow.tls.cert: unknown key"),
        ("port: 11113", "port: 0", "node.yaml:3: receive.port: found 0, expected a number of more than 0"),
        ("[SCANNER]", "[]", "receive.calling: found [], expected"),
        ("[SCANNER]", "[A_TITLE_OF_MORE_THAN_16]", "receive.calling"),
        ("calling: [SCANNER], ", "", "receive.calling: this key is missing."),
        ("https:", "ftp:", "stow.url: expected an address such as https"),
        ("https:", "http:", "stow.tls: the url begins with http:"),
        ("https://pacs", "https://me:s3cret@pacs", "stow.url: an address holds no login here"),
        ("receive: {calling: [SCANNER], port: 11113}", "", "has neither `receive` nor `poll`"),
        ("stow:", "poll:", "needs one of `stow` and `store`"),
        ("port: 11113", "tls: {ca: a.pem}", "receive.tls: a server needs its own `certificate`."),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new))
    assert said in found
    assert "s3cret" not in found


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no such file"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("title", sections())
def test_every_key_has_a_sentence(title: str) -> None:
    section = sections()[title]
    text = inspect.getdoc(section) or ""
    lines = [line.split("  ")[0] for line in text.splitlines()]
    assert set(section.model_fields) <= set(lines)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_one_part_of_an_answer_is_found_wherever_pieces_end(size: int) -> None:
    content = bytes(range(256)) + b"\r\n--other\r\n-" + b"\r\n--edg"
    body = b"\r\n--edge\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--edge--\r\n"
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    kind = 'multipart/related; type="application/dicom"; boundary="edge"'
    assert b"".join(only_part(kind, pieces)) == content
    assert b"".join(only_part("application/dicom", pieces)) == body


@pytest.mark.parametrize("body", [b"", b"--edge\r\n\r\nx", b"--edge\r\n\r\nx\r\n--edge\r\n\r\ny\r\n--edge--", b"no header"])
def test_an_answer_that_breaks_off_or_has_more_parts_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="multipart"):
        list(only_part("multipart/related; boundary=edge", [body]))
