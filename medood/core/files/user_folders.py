"""The user's own folders: for what can be made again, and for what must not be lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_cache() -> Path:
    """MEDOOD_CACHE, else the platform's folder for caches."""
    if place := os.environ.get("MEDOOD_CACHE"):
        return Path(place)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "medood"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/medood"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "medood"


def config_folder() -> Path:
    """MEDOOD_CONFIG, else the platform's folder for settings."""
    if place := os.environ.get("MEDOOD_CONFIG"):
        return Path(place)
    if os.name == "nt":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData/Roaming")) / "medood"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/medood"
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "medood"


def feature_folder(cache: Path | None) -> Path:
    """Where features of images are kept, below the folder of the cache."""
    return (cache or default_cache()) / "features"
