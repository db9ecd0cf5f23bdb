"""Sees to it that the answers of an archive reach whoever waits for them."""

from __future__ import annotations

from typing import Any

from pynetdicom.association import Association


def keep_answers(association: Association) -> Association:
    """The same association, of one that asks; its own thread takes no messages any more.

    That thread of pynetdicom looks for requests of the other side, in the queue where answers come too. It is told to pause while somebody
    asks, but if it was just about to look it still does, once: on a busy machine it finds the answer, drops it as unexpected, and
    whoever asked waits until the timeout and believes the archive dead. Nobody sends requests to one that only asks.
    """
    take = association.dimse.get_msg

    def for_those_who_wait(block: bool = False) -> Any:
        return take(block) if block else (None, None)

    association.dimse.get_msg = for_those_who_wait  # type: ignore[method-assign]
    return association
