"""Trains a toy again and again, each time killed at another moment: python resume_child.py FOLDER 'step sphere' 7 FOLDER 'begin bank' 1 ...

One process imports and then forks for every training, because importing takes longer than training.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training_toys import train_watched

from medood.core.files import atomic


def train_until(folder: str, call: str, number: int) -> None:
    """SIGKILL when the phases of the toy are called `call` for the `number`th time; "write checkpoint" is half way through a file."""
    left = number

    def count(name: str) -> None:
        nonlocal left
        left -= name == call
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def file_in_halves(path: Path) -> Iterator[Path]:
        """As `atomic_file`, but the process may end when half of a checkpoint is in the part."""
        with whole(path) as part:
            yield part
            content = part.read_bytes()
            part.write_bytes(content[: len(content) // 2])
            if path.suffix == ".safetensors":
                count("write checkpoint")
            part.write_bytes(content)

    whole, atomic.atomic_file = atomic.atomic_file, file_in_halves
    train_watched(Path(folder), watch=count)


def main(arguments: list[str]) -> None:
    for folder, call, number in zip(arguments[::3], arguments[1::3], arguments[2::3], strict=True):
        child = os.fork()
        if child == 0:
            train_until(folder, call, int(number))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"{call} {number}: the training was not killed but ended with {status}")


if __name__ == "__main__":
    main(sys.argv[1:])
