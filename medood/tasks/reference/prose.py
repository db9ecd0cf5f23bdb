"""Docstrings as text for a terminal of any width."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

_LABEL = re.compile(r"(?P<label>[\w,. -]+?)(?P<gap> {2,})(?=\S)")  # "epochs         passes over the images"
_VALUE = re.compile(r'"[^" ]*"[^ ]*:')  # '"turns": 8, a flip x 4 quarter turns' begins a line of its own
_FULL = 100  # columns; a line that ends before its next word would reach this was ended on purpose
_WIDEST = 120  # columns; longer lines are hard to read
_LEAST = 30  # columns for the text beside a label


@dataclass
class _Paragraph:
    """Lines that are wrapped as one; the first begins at `start`, the others are indented by `hang`."""

    start: int
    hang: int
    text: str
    length: int  # of the last line
    labelled: bool

    def takes(self, indent: int, text: str) -> bool:
        """Whether this line goes on with the paragraph."""
        below = indent > self.start if self.labelled else indent == self.start
        full = self.length + 1 + len(text.split(" ", 1)[0]) > _FULL
        return below and full and not _VALUE.match(text)


def wrapped(text: str, width: int) -> str:
    """The text with its paragraphs, lists of keys and lists of values wrapped to `width` columns, 120 at most. Lines that were ended
    early stay lines, and those between fences stay as they are, with an empty line in place of the second
    fence."""
    parts: list[_Paragraph | str] = []
    fenced = False
    for line in text.splitlines():
        content = line.strip()
        indent = len(line) - len(line.lstrip())
        last = parts[-1] if parts else None
        if content == "```":
            fenced = not fenced
            if not fenced:
                parts.append("")
        elif fenced or not content:
            parts.append(line)
        elif isinstance(last, _Paragraph) and last.takes(indent, content):
            last.text, last.length = f"{last.text} {content}", len(line)
        else:
            label = _LABEL.match(content)
            parts.append(_Paragraph(indent, indent + (label.end() if label else 0), content, len(line), bool(label)))
    return "\n".join(part if isinstance(part, str) else _lines(part, min(width, _WIDEST)) for part in parts)


def _lines(paragraph: _Paragraph, width: int) -> str:
    label = _LABEL.match(paragraph.text) if paragraph.labelled else None
    first = " " * paragraph.start + (label.group() if label else "")
    return textwrap.fill(
        paragraph.text[label.end() :] if label else paragraph.text,
        max(width, paragraph.hang + _LEAST),
        initial_indent=first,
        subsequent_indent=" " * paragraph.hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
