"""The configuration of a node: a YAML file of literals, all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from medood.core.errors import RecipeError
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt
from medood.recipe.check import check
from medood.recipe.literals import Places, place_of, read_literals

Port = Annotated[int, Field(gt=0, lt=2**16)]
Title = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$")]
"""An AE title: up to 16 characters of ASCII without a backslash (PS3.5, value representation AE)."""
Kind = Literal["report", "segmentation", "picture", "map", "key_objects"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Tls(_Section):
    """Encryption of a connection, and who is believed.

    ca           file of the certificates (PEM) that vouch for the other side; null: those of the system. A server that has one demands a
                 certificate of everybody who calls
    certificate  file of the own certificate (PEM); a server must have one
    key          file of its private key (PEM), if it is not in the same file
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class Receive(_Section):
    """Taking studies that others send by C-STORE.

    host          address to listen on; the default lets in nobody but this machine
    port          TCP port to listen on
    ae_title      name of this node; callers must call it by this name
    calling       names of those who may call; all others are turned away
    tls           encryption, with a certificate of this node; null: none
    associations  callers at the same time; with `limits.object_mb` this bounds the memory that receiving takes
    """

    host: str = "127.0.0.1"
    port: Port = 11112
    ae_title: Title = "MEDOOD"
    calling: Annotated[list[Title], Field(min_length=1)]
    tls: Tls | None = None
    associations: PositiveInt = 4


class Poll(_Section):
    """Fetching studies from an archive by DICOMweb (QIDO-RS and WADO-RS).

    url          root of the service, such as https://pacs.example.org/dicom-web
    every_s      seconds between two looks
    days         studies of today and so many days before are looked for, by their StudyDate; 0: only today's
    filters      what studies must match besides, by DICOM keyword, such as `{ModalitiesInStudy: CT}`
    credentials  word before the names of the environment variables with the login: for `PACS`, either PACS_TOKEN (bearer), or PACS_USER and
                 PACS_PASSWORD (basic); null: no login
    tls          whom to believe behind an https address, and the own certificate; null: the authorities of the system
    """

    url: str
    every_s: PositiveFloat = 60.0
    days: Annotated[int, Field(ge=0, le=3660)] = 1
    filters: dict[str, str] = {}
    credentials: Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")] | None = None
    tls: Tls | None = None


class Stow(_Section):
    """Sending results to an archive by DICOMweb (STOW-RS).

    url          as in `poll`
    credentials  as in `poll`
    tls          as in `poll`
    """

    url: str
    credentials: Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")] | None = None
    tls: Tls | None = None


class Store(_Section):
    """Sending results to an archive by C-STORE.

    host      address of the archive
    port      its TCP port
    called    its AE title
    ae_title  name of this node, as the archive knows it
    tls       encryption; null: none
    """

    host: str
    port: Port
    called: Title
    ae_title: Title = "MEDOOD"
    tls: Tls | None = None


class Limits(_Section):
    """What one sender, one study or one object may take. What does not fit is refused, and the log says so.

    object_mb      size of an object; when deflated, also of what it inflates to
    decoded_mb     memory that the pixels of an object take once they are decoded, by its header
    study_objects  objects of a study
    objects        of all studies that wait or are kept
    storage_gb     all studies that wait or are kept; beyond this, or `objects`, nothing more is taken, until some are done
    free_gb        space that others keep on the disk; nothing more is taken when there is less
    keep_days      days that scores, failures and, with `keep_images`, images are kept after the end of a study
    """

    object_mb: PositiveInt = 1024
    decoded_mb: PositiveInt = 4096
    study_objects: PositiveInt = 10_000
    objects: PositiveInt = 500_000
    storage_gb: PositiveFloat = 100.0
    free_gb: NonNegativeFloat = 2.0
    keep_days: PositiveFloat = 30.0


class Retry(_Section):
    """When the archive does not take a result.

    first_s     seconds before the second try; every further wait is twice as long
    longest_s   the longest wait
    give_up_h   hours after which a study is called failed, loudly; `--retry` tries it again
    """

    first_s: PositiveFloat = 10.0
    longest_s: PositiveFloat = 1800.0
    give_up_h: PositiveFloat = 24.0


class NodeConfig(_Section):
    """One node. It has `receive`, `poll` or both, and one of `stow` and `store`.

    folder       folder of the queue and the studies, for one node alone; a relative path begins at the configuration file
    receive      taking studies by C-STORE; its keys are below, like those of the next five
    poll         fetching studies by DICOMweb
    stow         sending results by DICOMweb
    store        sending results by C-STORE
    limits       sizes, counts and times
    retry        waits between tries to send
    quiet_s      a study is complete when nothing of it has come for so many seconds
    objects      what is sent back: report (SR), segmentation (SEG), picture (secondary capture), map (parametric map), key_objects
    keep_images  keep the images that came until `limits.keep_days` after the result was confirmed; otherwise they are deleted at once
    """

    folder: Path
    receive: Receive | None = None
    poll: Poll | None = None
    stow: Stow | None = None
    store: Store | None = None
    limits: Limits = Field(default_factory=Limits)
    retry: Retry = Field(default_factory=Retry)
    quiet_s: PositiveFloat = 60.0
    objects: Annotated[list[Kind], Field(min_length=1)] = ["report", "segmentation", "picture"]
    keep_images: bool = False


def sections() -> dict[str, type[BaseModel]]:
    """What a configuration is made of, by title."""
    return {
        "Node": NodeConfig,
        "Section receive": Receive,
        "Section poll": Poll,
        "Section stow": Stow,
        "Section store": Store,
        "Section tls": Tls,
        "Section limits": Limits,
        "Section retry": Retry,
    }


def load_config(path: Path) -> NodeConfig:
    """Read and check a configuration. Raises RecipeError with every mistake; relative paths begin at the file's folder."""
    if not path.is_file():
        raise RecipeError([f"{path}: there is no such file."])
    values, places = read_literals(path)
    problems: list[str] = []
    config = check(NodeConfig, values, places, str(path), problems)
    if config is not None:
        problems += _contradictions(config, places, str(path))
    if problems or config is None:
        raise RecipeError(problems)
    return _anchored(config, path.resolve().parent)


def _contradictions(config: NodeConfig, places: Places, where: str) -> Iterator[str]:
    """What no single key shows."""

    def at(*keys: Any) -> str:
        return f"{place_of(keys, places, where)}: {'.'.join(map(str, keys)) or 'the node'}: "

    if not (config.receive or config.poll):
        yield f"{at()}has neither `receive` nor `poll`, so nothing would ever come; give it one of them."
    if bool(config.stow) == bool(config.store):
        yield f"{at()}needs one of `stow` and `store`, to send results, and not both."
    for name in ("poll", "stow"):
        section = getattr(config, name)
        if section and (wrong := wrong_url(section.url)):
            yield f"{at(name, 'url')}{wrong}"
    if config.receive and config.receive.tls and not config.receive.tls.certificate:
        yield f"{at('receive', 'tls')}a server needs its own `certificate`."
    if config.stow and config.stow.tls and not config.stow.url.startswith("https:"):
        yield f"{at('stow', 'tls')}the url begins with http:, so nothing would be encrypted; write https:."
    if config.poll and config.poll.tls and not config.poll.url.startswith("https:"):
        yield f"{at('poll', 'tls')}the url begins with http:, so nothing would be encrypted; write https:."


def wrong_url(url: str) -> str | None:
    """What is wrong with the address of a service; never with a password that may be in it."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        _ = parts.port
    except ValueError:
        return "this is no address; expected one such as https://pacs.example.org/dicom-web."
    if parts.username or parts.password:
        return "an address holds no login here: put it into the environment and name it with `credentials`."
    return None if good else "expected an address such as https://pacs.example.org/dicom-web."


def _anchored(config: NodeConfig, home: Path) -> NodeConfig:
    """The configuration with every path absolute."""
    changes: dict[str, Any] = {"folder": home / config.folder}
    for name in ("receive", "poll", "stow", "store"):
        section = getattr(config, name)
        if section and section.tls:
            files = {key: home / path for key, path in section.tls if path is not None}
            changes[name] = section.model_copy(update={"tls": section.tls.model_copy(update=files)})
    return config.model_copy(update=changes)
