"""How many threads the linear algebra under numpy has."""

from __future__ import annotations

import os


def one_thread_for_products() -> None:
    """Let numpy's products of matrices use one thread, in this process and in those that it starts, unless the user has said otherwise.

    They are small here, and OpenBLAS lets the threads that it woke for one wait busily for the next, on the very processors that decode
    images and run networks; where others want these too, small products take many times as long. torch has threads of its own. Call it
    before numpy is imported, in processes of our own only.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
