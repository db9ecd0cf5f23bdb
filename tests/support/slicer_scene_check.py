"""Opens a scene bundle with 3D Slicer's own library and says what it shows. Runs in a Python that has slicer-core, not medood.

    python slicer_scene_check.py case.mrb picture.png

Prints one JSON object:
complaints  what the library wrote to its log
volumes     name, class, and RAS millimetres of the highest value of each volume
views       for each slice view: pixels that the map changes, their centre of mass from the middle of the view, and the value of the
            background beneath; right and up are positive
hidden      name of the label map, its colour's name for the value 1, and as for views what it changes in the red view; or null
legend      title, colour table and range of the colour legend
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SIZE = 300  # pixels of a slice view
VISIBLE = 8  # grey values by which the map must change a pixel to count


def open_bundle(path: Path):
    """The scene after the bundle was opened in it, and the logics of its three slice views."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkMRMLApplicationLogic()
    application.SetMRMLScene(scene)
    application.SetTemporaryPath(tempfile.mkdtemp())
    colours = slicer.vtkMRMLColorLogic()
    colours.SetMRMLScene(scene)
    colours.AddDefaultColorNodes()
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    views = {name: slicer.vtkMRMLSliceLogic() for name in ("Red", "Green", "Yellow")}
    for name, view in views.items():
        view.SetMRMLScene(scene)
        view.AddSliceNode(name).SetDimensions(SIZE, SIZE, 1)
    cache, reader = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(tempfile.mkdtemp())
    reader.SetCacheManager(cache)
    scene.SetDataIOManager(reader)
    if not scene.ReadFromMRB(str(path), False):
        sys.exit(f"{path} was not read")
    return scene, views, (application, colours)


def highest(volume) -> list[float]:
    image, to_ras = volume.GetImageData(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(-1, image.GetNumberOfScalarComponents()).sum(axis=1)
    columns, rows, _ = image.GetDimensions()
    index = int(np.argmax(values))
    return list(to_ras.MultiplyPoint((index % columns, index // columns % rows, index // (columns * rows), 1.0))[:3])


def drawn(view) -> np.ndarray:
    """The slice as it is on the screen, (row from below, column, RGB)."""
    producer = view.GetImageDataConnection().GetProducer()
    producer.Update()
    image = producer.GetOutputDataObject(0)
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(SIZE, SIZE, -1)[..., :3].astype(int)


def shown(view, png: Path | None) -> dict[str, object]:
    if png:
        writer = vtk.vtkPNGWriter()
        writer.SetInputConnection(view.GetImageDataConnection())
        writer.SetFileName(str(png))
        writer.Write()
    with_map = drawn(view)
    view.GetSliceCompositeNode().SetForegroundOpacity(0.0)
    beneath = drawn(view)
    right, up = beneath[:, SIZE // 2 :].mean() - beneath[:, : SIZE // 2].mean(), beneath[SIZE // 2 :].mean() - beneath[: SIZE // 2].mean()
    return changed(with_map, beneath) | {"brighter": [float(right), float(up)]}


def changed(after: np.ndarray, before: np.ndarray) -> dict[str, object]:
    rows, columns = np.nonzero(np.abs(after - before).max(axis=2) > VISIBLE)
    centre = [float(columns.mean()) - SIZE / 2, float(rows.mean()) - SIZE / 2] if rows.size else None
    return {"pixels": int(rows.size), "centre": centre}


def hidden(scene, view) -> dict[str, object] | None:
    """What the label map does to a view whose map is not shown any more."""
    layers = view.GetSliceCompositeNode()
    if not layers.GetLabelVolumeID():
        return None
    volume = scene.GetNodeByID(layers.GetLabelVolumeID())
    with_labels = drawn(view)
    layers.SetLabelOpacity(0.0)
    name = volume.GetDisplayNode().GetColorNode().GetColorName(1)
    return changed(with_labels, drawn(view)) | {"name": volume.GetName(), "label": name}


def main() -> None:
    log = vtk.vtkStringOutputWindow()
    vtk.vtkOutputWindow.SetInstance(log)
    scene, views, _alive = open_bundle(Path(sys.argv[1]).resolve())
    volumes = [scene.GetNthNodeByClass(i, "vtkMRMLVolumeNode") for i in range(scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"))]
    legend = scene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode")
    scale = legend.GetPrimaryDisplayNode()
    found = {
        "volumes": [{"name": v.GetName(), "class": v.GetClassName(), "highest": highest(v)} for v in volumes],
        "views": {name: shown(view, Path(sys.argv[2]) if name == "Red" else None) for name, view in views.items()},
        "hidden": hidden(scene, views["Red"]),
        "legend": [legend.GetTitleText(), scale.GetColorNode().GetName(), scale.GetWindowLevelMin(), scale.GetWindowLevelMax()],
        "layout": scene.GetFirstNodeByClass("vtkMRMLLayoutNode").GetViewArrangement(),
        "complaints": (log.GetOutput() or "").strip(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
