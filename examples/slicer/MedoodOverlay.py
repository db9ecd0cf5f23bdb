"""3D Slicer module (5.2 or newer) to look through what `medood score --maps` found: the cases by score, each a click away.

Needs neither medood nor torch. In Slicer: Edit, Application Settings, Modules, Additional module paths, add the folder of this file, start
Slicer again; or `Slicer --additional-module-paths examples/slicer`. The module is then under Informatics. Choose scores.csv or maps.json.
For a scene that opens with a double click, use `medood overlay`.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

OPACITY, HIDDEN_OPACITY = 0.6, 0.5
NO_UPPER_THRESHOLD = 1e30
PALETTE = (  # every 15th of medood's 256 colours, purple to yellow
    "57106e 67166e 781c6d 88226a 9a2865 a92e5e ba3655 c83f4b d74b3f e25734 ec6726 f37819 f98b0b fc9f07 fcb216 f9c72f f5db4c f1ef75"
)
FADED, COLOURS = 32, 256  # so many fade in, of so many
READ_BY_SLICER = (".nrrd", ".nhdr", ".nii", ".gz", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")  # all else is DICOM
ALONE = {"singleFile": True, "show": False}  # files with numbers are no series
NOT_EXAMINED = (96 / 255, 128 / 255, 176 / 255)
SPREADSHEET_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # medood writes such text with an apostrophe before it


@dataclass(frozen=True)
class Case:
    """One series or single image. `line` is what maps.jsonl says of its map; it is empty without one."""

    id: str
    score: float | None
    p_value: float | None
    decision: str
    note: str
    line: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """What a scoring left: its cases, highest score first; the folder of the maps and their colour scale, if any; and of the images."""

    cases: list[Case]
    maps: Path | None
    scale: dict
    images: Path | None


def read_results(path: Path) -> Results:
    """Of scores.csv, of maps.json, or of the folder of maps. Raises ValueError with a sentence."""
    table = path if path.suffix == ".csv" else None
    maps = maps_of(path) if table else path if path.is_dir() else path.parent
    header = read_header(maps) if maps else {}
    lines = read_lines(maps) if maps else {}
    cases = cases_of_table(path, lines) if table else [case_of_line(line) for line in lines.values()]
    source = header.get("source") or beside(path)
    root = source.get("root") or source.get("folder")
    ordered = sorted(cases, key=lambda case: (case.score is None, -(case.score or 0.0), case.id))
    return Results(ordered, maps, header.get("scale") or {}, Path(root) if root else None)


def maps_of(table: Path) -> Path | None:
    """The folder of maps that belongs to a scores.csv: the one in scores.json, or else `maps` beside it, for folders that were moved."""
    named = [Path(name) for name in [beside(table).get("maps")] if name]
    return next((folder for folder in [*named, table.parent / "maps"] if (folder / "maps.json").is_file()), None)


def beside(table: Path) -> dict:
    """scores.json, which says how the table beside it was made."""
    path = table.with_suffix(".json")
    return read_json(path) if table.suffix == ".csv" and path.is_file() else {}


def read_header(maps: Path) -> dict:
    if not (maps / "maps.json").is_file():
        raise ValueError(f"{maps} is no folder of maps: it has no maps.json. Make one with `medood score --maps`.")
    header = read_json(maps / "maps.json")
    if not isinstance(header.get("scale"), dict):
        raise ValueError(f"The run of {maps} has no maps: its method gives scores only.")
    return header


def read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged or cannot be read.")
    return value


def read_lines(maps: Path) -> dict[str, dict]:
    """maps.jsonl by id, each as it was listed last; a line that was cut off while it was written is left out."""
    lines = {}
    for text in (maps / "maps.jsonl").read_text(encoding="utf-8").split("\n") if (maps / "maps.jsonl").is_file() else []:
        try:
            line = json.loads(text)
            files = [line["map"], line.get("not_examined")]
        except (ValueError, TypeError, KeyError):
            continue
        if all(name is None or Path(name).name == name for name in files):  # nothing outside the folder
            lines[str(line["id"])] = line
    return lines


def case_of_line(line: dict) -> Case:
    said = line.get("verdict") or {}
    notes = [said.get("domain_reason"), said.get("issues")]
    return Case(line["id"], said.get("score"), said.get("p_value"), said.get("decision") or "", "; ".join(filter(None, notes)), line)


def cases_of_table(path: Path, lines: dict[str, dict]) -> list[Case]:
    """The rows of series, of single images, and of files that could not be scored; those of single slices are left out."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"level", "id", "score"} <= rows[0].keys():
        raise ValueError(f"{path} is no table of `medood score`: it has no columns level, id and score.")
    cases = []
    for row in rows:
        if row["level"] == "slice":
            continue
        name, scored = unguarded(row["id"]), row.get("status") == "ok"
        notes = ["" if scored else row.get("reason"), row.get("domain_reason"), row.get("issues")]
        decision = (row.get("decision") if scored else row.get("status")) or ""
        note = unguarded("; ".join(filter(None, notes)))
        cases.append(Case(name, number(row.get("score")), number(row.get("p_value")), decision, note, lines.get(name, {})))
    return cases


def unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(SPREADSHEET_FORMULA) else text


def number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def image_place(identifier: str, root: Path | None) -> Path | None:
    """The file, or the folder of the DICOM series, that an id names below the folder of the images; None if it is not there."""
    if root is None or Path(identifier).is_absolute() or ".." in Path(identifier).parts:
        return None
    plain, _, count = identifier.rpartition("#")  # several series of a folder are numbered
    names = [identifier, plain] if count.isdecimal() else [identifier]
    places = [root / name for name in names if name] + [root for name in names if name == root.name]
    return next((place for place in places if place.exists()), None)


def palette() -> np.ndarray:
    """(256, 4) RGBA in 0..1, as medood's own scenes have it."""
    anchors = np.array([[int(word[i : i + 2], 16) for i in (0, 2, 4)] for word in PALETTE.split()]) / 255
    steps = np.arange(COLOURS)
    colours = [np.interp(steps, np.arange(len(anchors)) * 15, channel) for channel in anchors.T]
    return np.stack([*colours, np.minimum(steps / FADED, 1.0)], axis=1)


class MedoodOverlay(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        self.parent.title = "Medood Overlay"
        self.parent.categories = ["Informatics"]
        self.parent.dependencies = []
        self.parent.contributors = ["medood"]
        self.parent.helpText = "Cases that medood scored, highest score first. A click shows the image and its map. For research only."
        self.parent.acknowledgementText = ""


class MedoodOverlayWidget(ScriptedLoadableModuleWidget):
    COLUMNS = ("score", "p-value", "decision", "case", "notes")

    def setup(self):
        super().setup()
        import ctk
        import qt

        self.logic, self.results, self._shown = MedoodOverlayLogic(), None, None
        form = qt.QFormLayout()
        self.layout.addLayout(form)
        self.source = ctk.ctkPathLineEdit()
        self.source.filters = ctk.ctkPathLineEdit.Files
        self.source.nameFilters = ["scores.csv or maps.json (*.csv *.json)"]
        self.images = ctk.ctkPathLineEdit()
        self.images.filters = ctk.ctkPathLineEdit.Dirs
        self.images.setToolTip("Only if the images are no longer in the folder where they were scored.")
        form.addRow("Scores or maps:", self.source)
        form.addRow("Folder of images:", self.images)
        self.table = qt.QTableWidget(0, len(self.COLUMNS))
        self.table.setHorizontalHeaderLabels(list(self.COLUMNS))
        self.table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        self.table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.layout.addWidget(self.table)
        self.status = qt.QLabel("For research only.")
        self.status.wordWrap = True
        self.layout.addWidget(self.status)
        self._item = qt.QTableWidgetItem
        self.source.connect("currentPathChanged(QString)", self.on_source)
        self.table.connect("itemSelectionChanged()", self.on_case)

    def on_source(self, path):
        if not path or not Path(path).exists():
            return
        with slicer.util.tryWithErrorDisplay("These results cannot be shown.", waitCursor=True):
            self.results, self._shown = read_results(Path(path)), None
            self.fill(self.results.cases)

    def fill(self, cases):
        self.table.setRowCount(0)  # no row stays selected
        self.table.setRowCount(len(cases))
        for row, case in enumerate(cases):
            shown = [*("" if value is None else f"{value:.4g}" for value in (case.score, case.p_value)), case.decision, case.id, case.note]
            for column, text in enumerate(shown):
                self.table.setItem(row, column, self._item(text))
        maps = sum(bool(case.line) for case in cases)
        self.status.text = f"{len(cases)} cases, {maps} with a map. For research only."

    def on_case(self):
        row = self.table.currentRow()
        if self.results is None or not 0 <= row < len(self.results.cases) or row == self._shown:
            return
        with slicer.util.tryWithErrorDisplay("This case cannot be shown.", waitCursor=True):
            self._shown = row
            images = Path(self.images.currentPath) if self.images.currentPath else None
            self.status.text = self.logic.show(self.results, self.results.cases[row], images)


class MedoodOverlayLogic(ScriptedLoadableModuleLogic):
    """Shows one case at a time: the nodes of the one before are removed."""

    def __init__(self):
        super().__init__()
        self._nodes = []

    def show(self, results: Results, case: Case, images: Path | None = None) -> str:
        """Load a case and go to its hottest voxel; returns a sentence for the user. Raises ValueError when there is nothing to show."""
        if not case.line or results.maps is None:
            raise ValueError(f"There is no map of {case.id}. {case.note}")
        self.clear()
        heat = self._keep(load_map(results.maps, case.line))
        image = self._image(image_place(case.id, images or results.images), heat)
        if case.line["map"].endswith(".png") and image is not None and dimensions(image) == dimensions(heat):
            heat.CopyOrientation(image)  # a picture's map says nothing of where it lies
        hidden = self._hidden(results.maps, case.line)
        colour(heat, results.scale)
        slicer.util.setSliceViewerLayers(
            background=image, foreground=heat, label=hidden, foregroundOpacity=OPACITY, labelOpacity=HIDDEN_OPACITY
        )
        look_at(heat, hottest_place(heat))
        missing = "" if image else " The image is not where it was scored, or none there fits the map: choose its folder."
        return f"{case.id}: {case.decision or 'no decision'}.{missing} For research only."

    def clear(self) -> None:
        for node in self._nodes:
            slicer.mrmlScene.RemoveNode(node)
        self._nodes = []

    def _keep(self, node):
        self._nodes.append(node)
        return node

    def _hidden(self, maps: Path, line: dict):
        """The mask of what was not examined, as a label map; None without one."""
        if not line.get("not_examined") or not (maps / line["not_examined"]).is_file():
            return None
        hidden = self._keep(slicer.util.loadLabelVolume(str(maps / line["not_examined"]), {"show": False}))
        hidden.GetDisplayNode().SetAndObserveColorNodeID(colour_table("medood not examined", [(0, 0, 0, 0), (*NOT_EXAMINED, 1)]).GetID())
        return hidden

    def _image(self, place: Path | None, heat):
        """The volume of the map, or None."""
        if place is None:
            return None
        if place.is_dir() or place.suffix.lower() not in READ_BY_SLICER:
            return load_series(place, heat, self._keep)
        return self._keep(slicer.util.loadVolume(str(place), ALONE))


def load_map(maps: Path, line: dict):
    heat = slicer.util.loadVolume(str(maps / line["map"]), ALONE)
    if line["map"].endswith(".png"):  # of 16 bit; the line says what its numbers mean
        low, high = line["ranges"]["map"]
        stored = slicer.util.arrayFromVolume(heat).astype(np.float32)
        slicer.util.updateVolumeFromArray(heat, (low + stored * ((high - low) / 65535)).astype(np.float32))
    return heat


def load_series(place: Path, heat, keep):
    """The DICOM volume in a folder or a file that lies where the map lies; None if there is none. All that are loaded are kept."""
    from DICOMLib import DICOMUtils

    with tempfile.TemporaryDirectory() as alone, DICOMUtils.TemporaryDICOMDatabase() as database:
        folder = place if place.is_dir() else Path(shutil.copy(place, alone)).parent
        DICOMUtils.importDicom(str(folder), database)
        names = [name for patient in database.patients() for name in DICOMUtils.loadPatientByUID(patient)]
    volumes = [keep(node) for node in map(slicer.mrmlScene.GetNodeByID, names) if node is not None]
    fitting = [node for node in volumes if node.IsA("vtkMRMLVolumeNode") and dimensions(node) == dimensions(heat)]
    return min(fitting, key=lambda node: float(np.abs(to_ras(node) - to_ras(heat)).max()), default=None)


def dimensions(volume) -> tuple:
    return tuple(volume.GetImageData().GetDimensions()) if volume.GetImageData() else ()


def to_ras(volume) -> np.ndarray:
    """4 x 4, from (column, row, slice) to RAS millimetres."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def colour(heat, scale: dict) -> None:
    """The run's fixed scale: the same colour means the same value in every image. Below the threshold nothing is drawn."""
    display = heat.GetDisplayNode()
    display.SetAndObserveColorNodeID(colour_table("medood", palette()).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(scale["low"], scale["high"])
    display.AutoThresholdOff()
    display.SetThreshold(scale["threshold"], NO_UPPER_THRESHOLD)
    display.ApplyThresholdOn()


def colour_table(name: str, colours):
    """The colour table of that name, which is made once."""
    found = slicer.mrmlScene.GetFirstNodeByName(name)
    if found is not None and found.IsA("vtkMRMLColorTableNode"):
        return found
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    table.SetTypeToUser()
    table.SetNumberOfColors(len(colours))
    for index, (red, green, blue, alpha) in enumerate(colours):
        table.SetColor(index, f"{name} {index}", float(red), float(green), float(blue), float(alpha))
    return table


def hottest_place(heat) -> np.ndarray:
    """Where the map has its highest value, in RAS millimetres."""
    array = slicer.util.arrayFromVolume(heat)
    k, j, i = (int(index) for index in np.unravel_index(np.argmax(array), array.shape))
    return (to_ras(heat) @ [i, j, k, 1.0])[:3]


def look_at(heat, place: np.ndarray) -> None:
    """Turn all slice views into the planes of the map, show the whole of it, and move them through `place`."""
    for number in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        slicer.mrmlScene.GetNthNodeByClass(number, "vtkMRMLSliceNode").RotateToVolumePlane(heat)
    slicer.util.resetSliceViews()
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *map(float, place), slicer.vtkMRMLSliceNode.OffsetJumpSlice)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairMode(crosshair.ShowBasic)
        crosshair.SetCrosshairRAS(*map(float, place))


class MedoodOverlayTest(ScriptedLoadableModuleTest):
    """Self test of the module within Slicer: a case made here is shown where it was made hot."""

    def runTest(self):
        slicer.mrmlScene.Clear()
        array = np.zeros((5, 8, 8), np.float32)
        array[3, 2, 6] = 1.0
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            made = slicer.util.addVolumeFromArray(array)
            for file in ("image.nrrd", "a_map.nrrd"):
                slicer.util.saveNode(made, str(folder / file))
            slicer.mrmlScene.RemoveNode(made)
            header = {"scale": {"low": 0.2, "high": 1.0, "threshold": 0.4}, "source": {"root": name}}
            line = {"id": "image.nrrd", "map": "a_map.nrrd", "verdict": {"score": 1.0, "decision": "anomalous"}}
            (folder / "maps.json").write_text(json.dumps(header), encoding="utf-8")
            (folder / "maps.jsonl").write_text(json.dumps(line), encoding="utf-8")
            results = read_results(folder)
            MedoodOverlayLogic().show(results, results.cases[0])
        layers = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        assert all(layer.GetForegroundVolumeID() and layer.GetBackgroundVolumeID() for layer in layers)
        heat = slicer.mrmlScene.GetNodeByID(layers[0].GetForegroundVolumeID())
        assert np.allclose(hottest_place(heat), (to_ras(heat) @ [6, 2, 3, 1])[:3])
        self.delayDisplay("The case is shown.")
