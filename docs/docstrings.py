"""medood's docstrings as Markdown: text, then explanations as aligned lines of name, two spaces or more, and text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_ENTRY = re.compile(r"^([a-z_0-9]+(?:, [a-z_0-9]+)*) {2,}(\S.*)$")
"""A line that explains one or several names."""

_SECOND = re.compile(r";  ([a-z_0-9]+(?:, [a-z_0-9]+)*) {2,}")
"""Where a second explanation begins on the same line."""


def split(docstring: str) -> tuple[str, dict[str, str]]:
    """The text of a docstring without its explanations, and those by name; several lines of an explanation stay lines."""
    text: list[str] = []
    explained: dict[str, str] = {}
    names: list[str] = []
    fenced = False
    for line in docstring.splitlines():
        fenced ^= line.startswith("```")
        goes_on = names and explained[names[0]].endswith(";")  # with another name, on a line of its own
        entry = None if fenced else _ENTRY.match(line.strip() if goes_on else line)
        if entry:
            if goes_on:
                explained |= {name: explained[name].removesuffix(";") for name in names}
            first, *others = _SECOND.split(f"{entry[1]}  {entry[2]}")
            pairs = [(entry[1], first.removeprefix(entry[1]).strip()), *zip(others[::2], others[1::2], strict=True)]
            for joined, meaning in pairs:
                names = joined.split(", ")
                explained |= dict.fromkeys(names, meaning)
        elif names and line.startswith("  "):
            explained |= {name: f"{explained[name]}\n{line.strip()}" for name in names}
        else:
            names = []
            text.append(line)
    return markdown("\n".join(text).strip()), explained


def markdown(text: str) -> str:
    """Text with its examples, lines that begin with >>> and what they print, as blocks of code."""
    blocks = re.split(r"\n{2,}", text)
    return "\n\n".join(f"```pycon\n{block}\n```" if block.startswith(">>>") else block for block in blocks)


def definitions(entries: Iterable[tuple[str, str]]) -> str:
    """A definition list of terms and their explanations, which may hold points that begin with a dash."""
    return "\n\n".join(f"{term}\n:   {_nested(meaning) or '&nbsp;'}" for term, meaning in entries)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def linked(text: str, link: Callable[[str], str | None]) -> str:
    """Text whose `names` in backticks lead where `link` says, but for those in blocks of code."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"(?<![\[`])`([A-Za-z_.]+)`(?![`\]])", lambda found: _to(found, link), parts[number])
    return "".join(parts)


def _to(found: re.Match[str], link: Callable[[str], str | None]) -> str:
    place = link(found[1])
    return f"[{found[0]}]({place})" if place else found[0]


def _nested(meaning: str) -> str:
    lines: list[str] = []
    for line in meaning.splitlines():
        point, before = line.startswith("- "), lines[-1].strip().startswith("- ") if lines else False
        if lines and point != before:
            lines.append("")
        lines.append(line)
    return "\n    ".join(lines)
