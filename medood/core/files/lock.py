"""One medood at a time where two would write the same files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout, UnixFileLock

from medood.core.errors import MedoodError


@contextmanager
def alone(lock_file: Path, out: Path, instead: str = "choose another --out") -> Iterator[None]:
    """Holds `lock_file`, so that no second medood writes `out`; the operating system lets go when this one dies. The file goes at the end.

    Afterwards the file is gone, and so are the folders that were made for it and that nothing was put into. Raises MedoodError at once
    when another holds it, or when it cannot be made.
    """
    made = [folder for folder in (lock_file.parent, *lock_file.parent.parents) if not folder.exists()]
    lock = FileLock(lock_file)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise MedoodError(f"Another medood is writing {out} right now: wait for it, or {instead}.") from error
    except OSError as error:
        _remove_empty(made)
        raise MedoodError(f"Cannot write {out}: {error.strerror or error}. {instead.capitalize()}.") from error
    try:
        yield
    finally:
        _let_go(lock, lock_file)
        _remove_empty(made)


def _let_go(lock: FileLock, lock_file: Path) -> None:
    """Release the lock and remove its file.

    While it is held, the file can be removed safely: who has opened it meanwhile gets a lock on a file without a name, which filelock
    notices and refuses. Removed after the release it could be the next one's. Where locks are of another kind, on Windows and on file
    systems without `flock`, releasing removes the file. Only a process that was killed leaves it behind, and it hinders nobody.
    """
    if isinstance(lock, UnixFileLock):
        with suppress(OSError):
            lock_file.unlink()
    lock.release()


def _remove_empty(folders: Sequence[Path]) -> None:
    """Inner ones first; what is not empty stays."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
