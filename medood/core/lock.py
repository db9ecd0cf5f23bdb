"""One medood at a time where two would write the same files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from medood.core.errors import MedoodError


@contextmanager
def alone(lock_file: Path, out: Path) -> Iterator[None]:
    """Holds `lock_file`, so that no second medood writes `out`; the operating system lets go when this one dies. The file goes at the end.

    Raises MedoodError at once when another holds it, or when it cannot be made.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise MedoodError(f"Another medood is writing {out} right now: wait for it, or choose another --out.") from error
    except OSError as error:
        raise MedoodError(f"Cannot write {out}: {error.strerror}. Choose another --out.") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes it when it is released, and not before
            lock_file.unlink()  # while it is still held: who opens it now is refused
        lock.release()
