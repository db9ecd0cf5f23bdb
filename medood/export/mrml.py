"""The text of a 3D Slicer scene that shows a map over its image.

Slicer's scene format (MRML) names a node by its class, `vtkMRMLxyzNode` -> `<xyz>`; integer switches are 0 and 1, boolean ones true and
false. Node ids below are Slicer's own where it looks for them (slice views, selection), and renamed by it when a scene is already open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from medood.core.map_scale import MapScale
from medood.export.colours import OPACITY, Window, colour_table

_VERSION = "Slicer 5.2.2 0"  # the oldest Slicer that reads all of this; a version above the user's own would be warned about
_COLOURS = "vtkMRMLColorTableNode1"
_HIDDEN_COLOURS = "vtkMRMLColorTableNode2"
_HIDDEN_DISPLAY = "vtkMRMLLabelMapVolumeDisplayNode1"
_HIDDEN_OPACITY = 0.5
_MAP_DISPLAY = "vtkMRMLScalarVolumeDisplayNode2"
_FOUR_UP, _ONE_VIEW = 3, 6  # vtkMRMLLayoutNode::SlicerLayoutFourUpView, SlicerLayoutOneUpRedSliceView
_NO_UPPER_THRESHOLD = 1e30

_PRESETS = {
    "Axial": np.array([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]]),
    "Coronal": np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]),
    "Sagittal": np.array([[0, 0, -1.0], [-1, 0, 0], [0, 1, 0]]),
}

ANATOMICAL = {"Red": _PRESETS["Axial"], "Green": _PRESETS["Coronal"], "Yellow": _PRESETS["Sagittal"]}
"""Slicer's slice views as it opens them: the RAS directions of (right on the screen, up, the normal) as columns."""


@dataclass(frozen=True, eq=False)
class View:
    """What the scene shows.

    focus    RAS millimetres in the middle of every slice view
    planes   axes of the slice views, as in ANATOMICAL
    heights  millimetres from the lower to the upper edge of each slice view
    window   values of the image shown as black and as white
    colour   whether the image is RGB
    single   whether it is one slice: then the red view alone is shown
    """

    name: str
    focus: np.ndarray
    planes: Mapping[str, np.ndarray]
    heights: Mapping[str, float]
    window: Window
    colour: bool
    single: bool


@dataclass(frozen=True)
class Files:
    """Paths relative to the scene: the image, the map, and its palette; the mask of what was not examined and its palette, if any."""

    image: str
    map: str
    colours: str
    hidden: str = ""
    hidden_colours: str = ""


def scene_text(view: View, scale: MapScale, files: Files) -> bytes:
    """The scene as XML."""
    root = ElementTree.Element("MRML", version=_VERSION, userTags="")
    _add_colours(root, 1, "medood", files.colours, len(colour_table()))
    image = _add_image(root, view, files.image)
    anomaly = _add_map(root, view, scale, files.map)
    hidden = _add_hidden(root, view, files) if files.hidden else ""
    for screen in view.planes:
        _add_slice(root, screen, view)
        _add_layers(root, screen, image, anomaly, hidden)
    selected = f"ActiveVolume:{image};SecondaryVolume:{anomaly};"
    _add(root, "Selection", "vtkMRMLSelectionNodeSingleton", singletonTag="Singleton", references=selected)
    arrangement = _ONE_VIEW if view.single else _FOUR_UP
    _add(root, "Layout", "vtkMRMLLayoutNodevtkMRMLLayoutNode", singletonTag="vtkMRMLLayoutNode", currentViewArrangement=arrangement)
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def hidden_colour_file_text() -> str:
    """The palette of the mask: what was examined is transparent, what was not is slate blue, which the map's palette lacks."""
    return "# medood examined or not\n0 examined 0 0 0 0\n1 not_examined 96 128 176 255\n"


def colour_file_text() -> str:
    """The palette as Slicer's colour file: one `index name red green blue alpha` per line."""
    lines = (f"{index} {index} " + " ".join(str(value) for value in colour) for index, colour in enumerate(colour_table()))
    return "# medood anomaly scores\n" + "\n".join(lines) + "\n"


def _add_colours(root: ElementTree.Element, number: int, name: str, file: str, count: int) -> None:
    storage = f"vtkMRMLColorTableStorageNode{number}"
    _add(root, "ColorTableStorage", storage, fileName=quote(file), useCompression=1, readState=0, writeState=0)
    _add(
        root,
        "ColorTable",
        f"vtkMRMLColorTableNode{number}",
        name=name,
        hideFromEditors="false",
        type=14,  # vtkMRMLColorTableNode::File
        numcolors=count,
        storageNodeRef=storage,
        references=f"storage:{storage};",
        attributes="Category:medood",
    )


def _add_hidden(root: ElementTree.Element, view: View, files: Files) -> str:
    """The mask of what was not examined, as a label map; returns its id."""
    _add_colours(root, 2, "medood not examined", files.hidden_colours, 2)
    _add(root, "LabelMapVolumeDisplay", _HIDDEN_DISPLAY, colorNodeID=_HIDDEN_COLOURS, sliceIntersectionThickness=1)
    return _add_volume(root, "LabelMap", 1, f"{view.name} not examined", files.hidden, _HIDDEN_DISPLAY)


def _add_image(root: ElementTree.Element, view: View, file: str) -> str:
    kind = "Vector" if view.colour else "Scalar"
    display = f"vtkMRML{kind}VolumeDisplayNode1"
    settings: dict[str, Any] = {
        "window": view.window[1] - view.window[0],
        "level": sum(view.window) / 2,
        "autoWindowLevel": 0,
        "applyThreshold": 0,
    }
    _add(root, f"{'Vector' * view.colour}VolumeDisplay", display, **settings, interpolate=1, colorNodeID="vtkMRMLColorTableNodeGrey")
    return _add_volume(root, kind, 1, view.name, file, display)


def _add_map(root: ElementTree.Element, view: View, scale: MapScale, file: str) -> str:
    """The map: its window is the scale, its legend is shown beside it."""
    settings: dict[str, Any] = {
        "window": scale.high - scale.low,
        "level": (scale.high + scale.low) / 2,
        "autoWindowLevel": 0,
        "interpolate": 1,
    }
    settings |= {"lowerThreshold": scale.threshold, "upperThreshold": _NO_UPPER_THRESHOLD, "applyThreshold": 1, "autoThreshold": 0}
    _add(root, "VolumeDisplay", _MAP_DISPLAY, **settings, colorNodeID=_COLOURS)
    legend = "vtkMRMLColorLegendDisplayNode1"
    _add(
        root,
        "ColorLegendDisplay",
        legend,
        titleText="anomaly score",
        labelFormat="%.3g",
        visibility="true",
        visibility2D="true",
        colorNodeID=_COLOURS,
        references=f"primaryDisplay:{_MAP_DISPLAY};",
    )
    return _add_volume(root, "Scalar", 2, f"{view.name} anomaly map", file, f"{_MAP_DISPLAY} {legend}")


def _add_volume(root: ElementTree.Element, kind: str, number: int, name: str, file: str, displays: str) -> str:
    """A volume whose grid is in its file; returns its id. `displays` are ids with spaces between, the first draws the volume."""
    storage = f"vtkMRMLVolumeArchetypeStorageNode{number if kind != 'LabelMap' else 3}"
    identifier = f"vtkMRML{kind}VolumeNode{number}"
    reading: dict[str, Any] = {"useCompression": 1, "readState": 0, "writeState": 0, "centerImage": 0, "UseOrientationFromFile": 1}
    _add(root, "VolumeArchetypeStorage", storage, fileName=quote(file), **reading)
    _add(
        root,
        "Volume" if kind == "Scalar" else f"{kind}Volume",
        identifier,
        name=name,
        hideFromEditors="false",
        storageNodeRef=storage,
        displayNodeRef=displays,
        references=f"display:{displays};storage:{storage};",
    )
    return identifier


def _add_slice(root: ElementTree.Element, screen: str, view: View) -> None:
    """A slice view with the focus in its middle; without one Slicer keeps its views where they were, mostly beside the patient."""
    place = np.eye(4)
    place[:3, :3], place[:3, 3] = view.planes[screen], view.focus
    usual = next(name for name, axes in _PRESETS.items() if axes is ANATOMICAL[screen])
    height = _number(view.heights[screen])
    _add(
        root,
        "Slice",
        f"vtkMRMLSliceNode{screen}",
        name=screen,
        singletonTag=screen,
        layoutName=screen,
        layoutLabel=screen[0],
        fieldOfView=f"{height} {height} 1",  # Slicer widens it to the shape of its window
        sliceToRAS=_matrix(place),
        sliceResolutionMode=1,
        defaultOrientation=usual,
        orientationReference=usual,
        **{f"orientationMatrix{name}": _matrix(axes) for name, axes in _PRESETS.items()},
    )


def _add_layers(root: ElementTree.Element, screen: str, image: str, anomaly: str, hidden: str) -> None:
    """What a slice view shows: the map over the image, and what was not examined over both."""
    labels: dict[str, Any] = {"labelVolumeID": hidden, "labelOpacity": _HIDDEN_OPACITY} if hidden else {}
    linked: dict[str, Any] = {"linkedControl": 1, "hotLinkedControl": 1, "doPropagateVolumeSelection": 1}
    _add(
        root,
        "SliceComposite",
        f"vtkMRMLSliceCompositeNode{screen}",
        singletonTag=screen,
        layoutName=screen,
        backgroundVolumeID=image,
        foregroundVolumeID=anomaly,
        foregroundOpacity=OPACITY,
        compositing=0,  # vtkMRMLSliceCompositeNode::Alpha
        clipToBackgroundVolume="true",
        **labels,
        **linked,
    )


def _add(root: ElementTree.Element, tag: str, identifier: str, *, name: str = "", **attributes: Any) -> None:
    values = {key: _number(value) if isinstance(value, float) else str(value) for key, value in attributes.items()}
    ElementTree.SubElement(root, tag, {"id": identifier, "name": name or tag, **values})


def _matrix(matrix: np.ndarray) -> str:
    return " ".join(_number(value) for value in matrix.ravel())


def _number(value: float) -> str:
    return repr(round(float(value), 9) + 0.0)
