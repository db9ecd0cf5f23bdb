"""medood: out-of-distribution and anomaly detection for medical images, trained on normal images only.

    import medood

    run = medood.train("brats_patchgan", data="BraTS", out="runs/brats")  # or medood.load
    result = run.score("scan.nii.gz")  # a file, a series folder, an array, an image of nibabel ...
    result.score, result.p_value, result.decision, result.map

Everything below is imported when it is first asked for, so that `import medood` itself needs neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; the aliases say that these names are offered
    from medood.core.detector import Batch as Batch
    from medood.core.detector import Detector as Detector
    from medood.core.detector import Epoch as Epoch
    from medood.core.detector import ImageSpec as ImageSpec
    from medood.core.detector import Phase as Phase
    from medood.core.detector import Scores as Scores
    from medood.core.detector import Update as Update
    from medood.core.errors import CalibrationError as CalibrationError
    from medood.core.errors import InputError as InputError
    from medood.core.errors import MedoodError as MedoodError
    from medood.core.errors import MedoodWarning as MedoodWarning
    from medood.core.errors import NotFitted as NotFitted
    from medood.core.errors import RecipeError as RecipeError
    from medood.core.errors import RunError as RunError
    from medood.core.errors import TrainingError as TrainingError
    from medood.core.geometry import Geometry as Geometry
    from medood.core.map_scale import MapScale as MapScale
    from medood.core.volume import Entry as Entry
    from medood.core.volume import Index as Index
    from medood.core.volume import Origin as Origin
    from medood.core.volume import Problem as Problem
    from medood.core.volume import Source as Source
    from medood.core.volume import Volume as Volume
    from medood.data.opening import open_source as open_source
    from medood.library.detectors import augmentation as augmentation
    from medood.library.detectors import detector as detector
    from medood.library.detectors import load_detector as load_detector
    from medood.library.detectors import save_detector as save_detector
    from medood.library.result import FolderResult as FolderResult
    from medood.library.result import Result as Result
    from medood.library.result import SliceResult as SliceResult
    from medood.library.run import Run as Run
    from medood.library.run import load as load
    from medood.library.run import train as train
    from medood.library.volumes import Volumes as Volumes
    from medood.library.volumes import read as read
    from medood.metrics.calibration import Calibration as Calibration
    from medood.recipe.loading import load_recipe as load_recipe
    from medood.recipe.recipe import Recipe as Recipe
    from medood.tasks.images.phantoms import write_phantoms as write_phantoms

__version__ = "0.2.0"

_HOMES = {
    "core.detector": ("Batch", "Detector", "Epoch", "ImageSpec", "Phase", "Scores", "Update"),
    "core.errors": (
        "CalibrationError",
        "InputError",
        "MedoodError",
        "MedoodWarning",
        "NotFitted",
        "RecipeError",
        "RunError",
        "TrainingError",
    ),
    "core.geometry": ("Geometry",),
    "core.map_scale": ("MapScale",),
    "core.volume": ("Entry", "Index", "Origin", "Problem", "Source", "Volume"),
    "data.opening": ("open_source",),
    "library.detectors": ("augmentation", "detector", "load_detector", "save_detector"),
    "library.result": ("FolderResult", "Result", "SliceResult"),
    "library.run": ("Run", "load", "train"),
    "library.volumes": ("Volumes", "read"),
    "metrics.calibration": ("Calibration",),
    "recipe.loading": ("load_recipe",),
    "recipe.recipe": ("Recipe",),
    "tasks.images.phantoms": ("write_phantoms",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'medood' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"medood.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
