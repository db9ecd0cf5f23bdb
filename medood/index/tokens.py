"""Tokens in place of what may name a person: an index can tell patients apart without knowing who they are."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from medood.core.errors import MedoodError
from medood.core.files.user_folders import config_folder


def secret() -> bytes:
    """This user's key, made at its first use. Without it nobody finds out what a token stands for.

    It is on no other computer, but in the memory of workers of a cluster while they read headers for an index.
    """
    file = config_folder() / "index.key"
    try:
        _make(file)
        key = file.read_bytes()
    except OSError as error:
        raise MedoodError(f"{file}: the key of the indexes cannot be read or made ({error.strerror}).") from error
    if len(key) != 32:
        raise MedoodError(f"{file}: expected a key of 32 bytes; remove the file, and make the indexes again.")
    return key


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:  # noqa: PTH123
        opened.write(os.urandom(32))


def fingerprint(key: bytes) -> str:
    return sha256(b"medood index " + key).hexdigest()[:16]


def tokens(key: bytes) -> Callable[[str], str]:
    """From a text to its token, 128 bits in hexadecimal digits; empty stays empty."""

    @lru_cache(maxsize=1000)
    def token(text: str) -> str:
        return hmac.new(key, text.encode(errors="surrogatepass"), sha256).hexdigest()[:32] if text else ""

    return token
