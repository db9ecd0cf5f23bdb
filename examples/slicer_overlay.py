"""Show a map over its volume in a running 3D Slicer (5.2 or newer); needs neither medood nor torch.

    Slicer --python-script examples/slicer_overlay.py IMAGE MAP [--scale maps.json]

IMAGE is a file that Slicer reads (NRRD, NIfTI, PNG ...) or a folder with a DICOM series; MAP is a map that `medood score --maps` wrote,
with maps.json beside it, which holds the colour scale of the run. For scenes that open with a double click, use `medood overlay`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import slicer
import vtk

OPACITY = 0.6
COLOURS = "vtkMRMLColorTableNodeFileInferno.txt"
NO_UPPER_THRESHOLD = 1e30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("map", type=Path)
    parser.add_argument("--scale", type=Path, help="the maps.json of the run; default: beside the map")
    options = parser.parse_args()
    scale = json.loads((options.scale or options.map.parent / "maps.json").read_text(encoding="utf-8"))["scale"]
    heat = slicer.util.loadVolume(str(options.map), {"show": False})
    if options.map.suffix == ".png":
        slicer.util.updateVolumeFromArray(heat, values(slicer.util.arrayFromVolume(heat), options.map))
    image = load_series(options.image, heat) if options.image.is_dir() else slicer.util.loadVolume(str(options.image))
    colour(heat, scale)
    slicer.util.setSliceViewerLayers(background=image, foreground=heat, foregroundOpacity=OPACITY, fit=True)
    go_to(hottest_place(heat))


def load_series(folder: Path, heat):
    """The DICOM series below `folder` that has as many voxels along each axis as the map."""
    from DICOMLib import DICOMUtils

    with DICOMUtils.TemporaryDICOMDatabase() as database:
        DICOMUtils.importDicom(str(folder), database)
        loaded = [node for patient in database.patients() for node in DICOMUtils.loadPatientByUID(patient)]
    volumes = [node for node in map(slicer.mrmlScene.GetNodeByID, loaded) if node.IsA("vtkMRMLVolumeNode")]
    fitting = [node for node in volumes if node.GetImageData().GetDimensions() == heat.GetImageData().GetDimensions()]
    if not fitting:
        raise SystemExit(f"None of the {len(volumes)} volumes in {folder} has the size of the map.")
    return fitting[0]


def values(stored: np.ndarray, file: Path) -> np.ndarray:
    """The map of a picture, whose 16-bit PNG holds `stored` numbers; maps.jsonl beside it says what they mean."""
    lines = map(json.loads, (file.parent / "maps.jsonl").read_text(encoding="utf-8").splitlines())
    low, high = next(line["ranges"]["map"] for line in lines if line["map"] == file.name)
    return (low + stored.astype(np.float32) * ((high - low) / 65535)).astype(np.float32)


def colour(heat, scale: dict[str, float]) -> None:
    """The run's fixed scale: the same colour means the same value in every image. Below the threshold nothing is drawn."""
    display = heat.GetDisplayNode()
    display.SetAndObserveColorNodeID(COLOURS)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(scale["low"], scale["high"])
    display.AutoThresholdOff()
    display.SetThreshold(scale["threshold"], NO_UPPER_THRESHOLD)
    display.ApplyThresholdOn()
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(heat)
    legend.SetTitleText("anomaly score")
    legend.SetLabelFormat("%.3g")


def hottest_place(heat) -> tuple[float, float, float]:
    """Where the map has its highest value, in RAS millimetres."""
    array = slicer.util.arrayFromVolume(heat)
    k, j, i = (int(index) for index in np.unravel_index(np.argmax(array), array.shape))
    to_ras = vtk.vtkMatrix4x4()
    heat.GetIJKToRASMatrix(to_ras)
    return to_ras.MultiplyPoint((i, j, k, 1.0))[:3]


def go_to(place: tuple[float, float, float]) -> None:
    """Move all slice views through `place` without shifting the picture."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *place, slicer.vtkMRMLSliceNode.OffsetJumpSlice)


if __name__ == "__main__":
    main()
