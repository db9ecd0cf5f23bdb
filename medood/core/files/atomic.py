"""Files that are either whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from medood.core.errors import MedoodError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path to write to; it becomes `path` only when the block ends well. The suffix is kept, so writers that choose by it work."""
    suffix = "".join(path.suffixes[-2:])
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=suffix, dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, keep_existing: bool = False) -> Iterator[Path]:
    """A new folder to fill; it becomes `path` only when the block ends well.

    What was there is replaced, or, with `keep_existing`, kept: then another process was faster with the same content.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=path.parent))
        try:
            yield part
            part.chmod(0o755)
            if not path.exists():
                _move(part, path, keep_existing)
            elif not keep_existing:
                aside = part.with_name(f"{part.name}-before")
                path.replace(aside)
                part.replace(path)
                shutil.rmtree(aside, ignore_errors=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, path: Path, keep_existing: bool) -> None:
    try:
        part.replace(path)
    except OSError:
        if not (keep_existing and path.is_dir()):
            raise


@contextmanager
def no_traces(*paths: Path) -> Iterator[Callable[[], None]]:
    """When the block fails, those of the `paths` that were not there before go again, with the folders made for them if they are empty.

    Calling what the block is given keeps them: what comes then is worth keeping.
    """
    new = {part for path in paths for part in (path, *path.parents) if not part.exists()}
    try:
        yield new.clear
    except BaseException:
        for path in sorted(new, key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):  # not made, or not empty
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=False, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Contiguous torch tensors by name as safetensors, straight from their memory to the disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_file(path) as part:
        try:
            save_file(dict(tensors), part, dict(metadata) if metadata else None)
        except SafetensorError as error:  # how the library says that the disk is full
            raise OSError(str(error)) from error


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write into a sentence."""
    try:
        yield
    except PermissionError as error:
        raise MedoodError(f"Cannot write {path}: no permission for this folder. Choose another output folder.") from error
    except OSError as error:  # numpy says no reason when a disk is full
        reason = error.strerror or "the disk may be full"
        raise MedoodError(f"Cannot write {path}: {reason}. Free some space or choose another output folder.") from error


def append(file: BinaryIO, content: bytes) -> None:
    """Append all of `content` to an unbuffered file; a full disk raises OSError and is never passed over."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
