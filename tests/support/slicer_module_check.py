"""Lets the module MedoodOverlay show a case with 3D Slicer's own library. Runs in a Python that has slicer-core, not medood.

    python slicer_module_check.py MedoodOverlay.py RESULTS ID picture.png

What the window of Slicer adds (reading files, layers of all views) is done here as slicer.util does it. Prints one JSON object:
said        the sentence for the user
views       as in slicer_scene_check
hidden      as in slicer_scene_check
crosshair   RAS millimetres
colours     name and count of the map's colours;  scale  their ends, and the lower threshold
nodes       how many volumes there are after the case was shown twice
complaints  what the library wrote to its log
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer_scene_check import SIZE, hidden, shown
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

VIEWS: dict = {}


def new_scene() -> None:
    scene = slicer.vtkMRMLScene()
    application, colours = slicer.vtkMRMLApplicationLogic(), slicer.vtkMRMLColorLogic()
    application.SetMRMLScene(scene)
    colours.SetMRMLScene(scene)
    colours.AddDefaultColorNodes()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for name in ("Red", "Green", "Yellow"):
        VIEWS[name] = slicer.vtkMRMLSliceLogic()
        VIEWS[name].SetMRMLScene(scene)
        VIEWS[name].AddSliceNode(name).SetDimensions(SIZE, SIZE, 1)
    scene.AddNode(slicer.vtkMRMLCrosshairNode())
    slicer.mrmlScene, slicer._alive = scene, (application, colours)


def load_png(path: str):
    """As Slicer's own reader does, which the library lacks: the first row is the uppermost, and columns and rows count to L and P."""
    reader = vtk.vtkPNGReader()
    reader.SetFileName(path)
    reader.Update()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", Path(path).name)
    node.SetAndObserveImageData(reader.GetOutput())
    update(node, array_of(node)[:, ::-1].copy())
    node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    return displayed(node, "vtkMRMLScalarVolumeDisplayNode")


def load(path: str, kind: str, display: str):
    node = slicer.mrmlScene.AddNewNodeByClass(kind, Path(path).name)
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(path)
    storage.SetSingleFile(True)
    if not storage.ReadData(node):
        sys.exit(f"{path} was not read")
    return displayed(node, display)


def displayed(node, kind: str):
    display = slicer.mrmlScene.AddNewNodeByClass(kind)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    node.SetAndObserveDisplayNodeID(display.GetID())
    return node


def load_volume(path: str, properties: dict):
    if path.endswith(".png"):
        return load_png(path)
    return load(path, "vtkMRMLScalarVolumeNode", "vtkMRMLScalarVolumeDisplayNode")


def load_labels(path: str, properties: dict):
    return load(path, "vtkMRMLLabelMapVolumeNode", "vtkMRMLLabelMapVolumeDisplayNode")


def array_of(volume) -> np.ndarray:
    image = volume.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def update(volume, array: np.ndarray) -> None:
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
    volume.SetAndObserveImageData(image)


def layers(background, foreground, label, foregroundOpacity: float, labelOpacity: float) -> None:
    for view in VIEWS.values():
        composite = view.GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(background.GetID() if background else None)
        composite.SetForegroundVolumeID(foreground.GetID())
        composite.SetLabelVolumeID(label.GetID() if label else None)
        composite.SetForegroundOpacity(foregroundOpacity)
        composite.SetLabelOpacity(labelOpacity)
    reset()


def reset() -> None:
    for view in VIEWS.values():
        view.FitSliceToAll()


def module(path: Path):
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for part in ("", "Widget", "Logic", "Test"):
        setattr(scripted, f"ScriptedLoadableModule{part}", type("Parent", (), {"__init__": lambda self, *_: None}))
    sys.modules[scripted.__name__] = slicer.ScriptedLoadableModule = scripted
    slicer.util = types.SimpleNamespace(
        loadVolume=load_volume,
        loadLabelVolume=load_labels,
        arrayFromVolume=array_of,
        updateVolumeFromArray=update,
        setSliceViewerLayers=layers,
        resetSliceViews=reset,
    )
    spec = importlib.util.spec_from_file_location("MedoodOverlay", path)
    loaded = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def main() -> None:
    log = vtk.vtkStringOutputWindow()
    vtk.vtkOutputWindow.SetInstance(log)
    new_scene()
    overlay = module(Path(sys.argv[1]))
    results = overlay.read_results(Path(sys.argv[2]))
    case = next(case for case in results.cases if case.id == sys.argv[3])
    logic = overlay.MedoodOverlayLogic()
    logic.show(results, case)
    said = logic.show(results, case)
    heat = slicer.mrmlScene.GetNodeByID(VIEWS["Red"].GetSliceCompositeNode().GetForegroundVolumeID()).GetDisplayNode()
    found = {
        "said": said,
        "views": {name: shown(view, Path(sys.argv[4]) if name == "Red" else None) for name, view in VIEWS.items()},
        "hidden": hidden(slicer.mrmlScene, VIEWS["Red"]),
        "crosshair": list(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS()),
        "colours": [heat.GetColorNode().GetName(), heat.GetColorNode().GetNumberOfColors()],
        "scale": [heat.GetWindowLevelMin(), heat.GetWindowLevelMax(), heat.GetLowerThreshold()],
        "nodes": slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"),
        "complaints": (log.GetOutput() or "").strip(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
