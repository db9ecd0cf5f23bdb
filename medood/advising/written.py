"""The winner as a recipe file."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_WIDTH = 130


def recipe_text(values: Mapping[str, Any], said: Sequence[str]) -> str:
    """A recipe for `medood train` under a comment of paragraphs on how it was chosen."""
    comment = "\n#\n".join(textwrap.fill(one, _WIDTH, initial_indent="# ", subsequent_indent="# ") for one in said)
    body = yaml.safe_dump(dict(values), sort_keys=False, default_flow_style=None, allow_unicode=True, width=_WIDTH)
    return f"{comment}\n{body}"
