"""Multipart answers with one part, piece by piece, in constant memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_LONGEST_HEADER = 1 << 16
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)


def only_part(content_type: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content of the one part of a multipart body, or the whole of a body that is not multipart.

    Raises ValueError when there are more parts or none, or it breaks off.
    """
    if not content_type.lower().startswith("multipart/"):
        yield from pieces
        return
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise ValueError("multipart without a boundary")
    end = b"\r\n--" + found[1].strip().encode()
    stream = iter(pieces)
    held = _after_header(stream)
    while (at := held.find(end)) < 0:
        safe = max(len(held) - len(end), 0)  # a boundary may be cut by the end of a piece
        yield held[:safe]
        piece = next(stream, None)
        if piece is None:
            raise ValueError("multipart that breaks off")
        held = held[safe:] + piece
    yield held[:at]
    rest = held[at + len(end) :]
    while len(rest) < 2 and (piece := next(stream, None)) is not None:
        rest += piece
    if rest[:2] != b"--":
        raise ValueError("multipart with several parts")


def _after_header(stream: Iterator[bytes]) -> bytes:
    """What follows the empty line after the header of the part."""
    held = b""
    while b"\r\n\r\n" not in held:
        piece = next(stream, None)
        if piece is None or len(held) > _LONGEST_HEADER:
            raise ValueError("multipart without a part")
        held += piece
    return held.partition(b"\r\n\r\n")[2]
