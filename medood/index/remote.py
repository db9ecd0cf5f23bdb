"""Images in object stores, on servers and in archive files (s3, gcs, sftp, zip, tar), by fsspec: indexed once, fetched as they are read."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from medood.core.errors import InputError, MedoodError
from medood.core.files.lock import alone
from medood.core.files.table_file import is_below
from medood.core.files.user_folders import default_cache
from medood.core.shield import kind_of
from medood.index.facts import Found, Row, rows_of
from medood.index.looking import ReadAll
from medood.sources.fetching import ADDRESS, mirror

_ARCHIVES = ("zip", "tar")
_STAMPS = ("ETag", "etag", "LastModified", "mtime", "updated", "created", "date_time", "CRC")
_AT_ONCE = 8  # files that are fetched at a time: most of the time is waiting
_ROOM = 4 << 30  # bytes of files that are kept here


class Remote:
    """A folder elsewhere. `root` is where its files lie here while they are needed, always the same for an address."""

    def __init__(self, address: str) -> None:
        found = ADDRESS.fullmatch(address)
        assert found
        self.protocol, place = found[1], found[2]
        archive = self.protocol in _ARCHIVES
        if archive and not Path(place).exists():  # a path from the root of the file system has lost its first slash
            place = f"/{place}"
        self.address = f"{self.protocol}://{place}"
        name = PurePosixPath(place).name
        self.root = default_cache() / "fetched" / sha256(self.address.encode()).hexdigest()[:16] / (name or "root")
        with _explained(self.address):
            self._fs, self._base = self._opened(place, archive)

    def _opened(self, place: str, archive: bool) -> tuple[Any, str]:
        if find_spec("fsspec") is None:
            raise ImportError
        import fsspec

        if archive:
            return fsspec.filesystem(self.protocol, fo=place, skip_instance_cache=True), ""
        system = fsspec.filesystem(self.protocol, skip_instance_cache=True)
        return system, system._strip_protocol(f"{self.protocol}://{place}").rstrip("/")

    def files(self) -> Iterator[Found]:
        """What is there now, a folder at a time; its order is not that of sources. Names that lead out of the folder are passed over."""
        place = 0
        with _explained(self.address):
            self._fs.invalidate_cache()  # of listings, which fsspec keeps as long as the process runs
            if self._base and not self._fs.exists(self._base):
                raise FileNotFoundError
            for folder, _, inside in self._fs.walk(self._base, detail=True):
                for name, info in inside.items():
                    full = f"{folder.strip('/')}/{name}".removeprefix(self._base.strip("/")).strip("/")
                    if is_below(full) and info.get("type", "file") == "file":
                        hidden = any(part.startswith(".") for part in full.split("/"))
                        yield Found(place, full, int(info.get("size") or 0), _stamp(info), hidden)
                        place += 1

    def read(self, files: Sequence[Found], key: bytes) -> list[Row]:
        """Rows of some files, which are here for so long; one that cannot be fetched is a problem like one that cannot be opened."""

        def try_to_fetch(file: Found) -> None:
            try:
                self.fetch(file.name)
            except InputError:
                (self.root / file.name).unlink(missing_ok=True)

        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(try_to_fetch, files))
            return rows_of(self.root, files, key, once=True)
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    @contextmanager
    def reader(self, key: bytes, files: int) -> Iterator[ReadAll]:
        """What reads so many files one shard after the other: several are fetched at a time."""
        yield lambda shards: (self.read(shard, key) for shard in shards)

    def fetch(self, name: str) -> int:
        """Have a file below `root`; returns its bytes. Raises InputError."""
        target = self.root / name
        part = target.with_name(f".part-{threading.get_ident()}-{target.name}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(f"{self._base}/{name}".lstrip("/") if self.protocol in _ARCHIVES else f"{self._base}/{name}", str(part))
            part.replace(target)
            return target.stat().st_size
        except Exception as error:  # of any library for any store
            raise InputError(f"{name}: it cannot be fetched from {self.address} ({kind_of(error)}).", "unreadable") from None
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def mirrored(self, index: Path) -> Iterator[Path]:
        """A folder where files are when they are read; it is gone afterwards."""
        with self.alone():
            self.root.mkdir(exist_ok=True)
            with mirror(self.root, _Kept(self), index, self.address):
                yield self.root

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For one process at a time, whose user alone may read what is fetched; nothing of it is left."""
        place = self.root.parent
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        with alone(place / ".lock", place, "wait until it is done with this address"):
            try:
                shutil.rmtree(self.root, ignore_errors=True)  # of a process that was killed
                yield
            finally:
                shutil.rmtree(self.root, ignore_errors=True)


class _Kept:
    """The files that were asked for last, as many as there is room for; those asked for together are there together."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, files: Iterable[Path]) -> None:
        names = [path.relative_to(self._remote.root).as_posix() for path in files]
        with self._lock, ThreadPoolExecutor(_AT_ONCE) as pool:
            new = [name for name in dict.fromkeys(names) if name not in self._sizes]
            self._sizes.update(zip(new, pool.map(self._remote.fetch, new), strict=True))
            for name in names:
                self._sizes.move_to_end(name)
            total = sum(self._sizes.values())
            for name in list(self._sizes)[: -len(names)]:
                if total <= _ROOM:
                    break
                total -= self._sizes.pop(name)
                (self._remote.root / name).unlink(missing_ok=True)


def _stamp(info: dict[str, Any]) -> int:
    """Changes with what a store says of the version of a file."""
    return int(sha256(repr([str(info.get(key)) for key in _STAMPS]).encode()).hexdigest()[:15], 16)


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turns what any library for any store raises into a sentence; its own words may hold a key."""
    try:
        yield
    except MedoodError:
        raise
    except ImportError:
        raise MedoodError(
            f"{address}: reading from there needs fsspec and its part for this kind: run `pip install medood[remote]`."
        ) from None
    except FileNotFoundError:
        raise MedoodError(f"{address}: there is nothing at this address; check it.") from None
    except ValueError as error:
        if "Protocol" in str(error):
            raise MedoodError(f"{address}: fsspec knows no such kind of address.") from None
        raise MedoodError(f"{address} cannot be read ({kind_of(error)}).") from None
    except Exception as error:
        if isinstance(error, PermissionError) or "Credential" in kind_of(error) or "Auth" in kind_of(error):
            raise MedoodError(
                f"{address}: no permission to read it. Credentials are those of the environment or of the store's own configuration, for "
                "S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
            ) from None
        raise MedoodError(f"{address} cannot be read ({kind_of(error)}); check the address and the connection.") from None
