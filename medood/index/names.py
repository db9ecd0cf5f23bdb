"""Names of files as DuckDB can hold them: it takes UTF-8 alone, and file systems hold any bytes."""

from __future__ import annotations

_TO = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}  # how Python spells a byte that is no UTF-8: to a private character
_FROM = {private: surrogate for surrogate, private in _TO.items()}


def stored(name: str) -> str:
    return name if name.isascii() else name.translate(_TO)


def shown(name: str) -> str:
    return name if name.isascii() else name.translate(_FROM)
