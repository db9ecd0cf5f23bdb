from __future__ import annotations

import zipfile
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from export_phantoms import GEOMETRIES, LESION, PICTURE, PICTURE_LESION, SCALE, SHAPE, blob, colour, grey

from medood.core.errors import MedoodError
from medood.core.geometry import Geometry
from medood.core.map_scale import MapScale
from medood.export.colours import colour_table
from medood.export.scene import hottest_voxel, write_bundle

_REFERENCES = ("storageNodeRef", "colorNodeID", "backgroundVolumeID", "foregroundVolumeID", "labelVolumeID")
VIEWS = ("Red", "Green", "Yellow")
NAME = "a <b> & \"c\" 'd' ü/1"


class Bundle:
    """A bundle as Slicer takes it apart: the scene, and the files it names."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
            self.files = {name: archive.read(name) for name in archive.namelist()}
        self.text = self.files["medood/scene.mrml"]
        self.root = ElementTree.fromstring(self.text)
        self.nodes = {node.attrib["id"]: node for node in self.root}
        assert len(self.nodes) == len(self.root)

    def file(self, storage: ElementTree.Element) -> bytes:
        return self.files["medood/" + unquote(storage.attrib["fileName"])]

    def image(self, identifier: str, folder: Path) -> sitk.Image:
        storage = self.nodes[self.nodes[identifier].attrib["storageNodeRef"]]
        (folder / "volume.nrrd").write_bytes(self.file(storage))
        return sitk.ReadImage(str(folder / "volume.nrrd"))

    def place(self, view: str) -> np.ndarray:
        return np.array(self.nodes[f"vtkMRMLSliceNode{view}"].attrib["sliceToRAS"].split(), float).reshape(4, 4)

    def height(self, view: str) -> float:
        return float(self.nodes[f"vtkMRMLSliceNode{view}"].attrib["fieldOfView"].split()[1])


def bundle(folder: Path, geometry: Geometry, image: np.ndarray | None = None, voxel=LESION, scale: MapScale = SCALE, **more) -> Bundle:
    image = grey(geometry) if image is None else image
    write_bundle(folder / "case.mrb", image, blob(geometry, voxel), geometry, scale, NAME, **more)
    return Bundle(folder / "case.mrb")


every = pytest.mark.parametrize("name", GEOMETRIES)
every_kind = pytest.mark.parametrize(
    ("geometry", "image", "voxel"),
    [(GEOMETRIES["sheared"], grey(GEOMETRIES["sheared"]), LESION), (PICTURE, colour(PICTURE), PICTURE_LESION)],
    ids=["sheared_volume", "photograph"],
)


def test_the_zip_is_laid_out_as_slicer_wants_it(tmp_path: Path) -> None:
    case = bundle(tmp_path, GEOMETRIES["axial"])
    assert list(case.files) == ["medood/scene.mrml", "medood/Data/medood.ctbl", "medood/Data/image.nrrd", "medood/Data/map.nrrd"]
    assert case.root.tag == "MRML"
    assert case.root.attrib["version"] == "Slicer 5.2.2 0"
    for storage in case.root.iter():
        if "fileName" in storage.attrib:
            assert case.file(storage)
            assert (storage.attrib["readState"], storage.attrib["writeState"]) == ("0", "0")


@every_kind
def test_what_was_not_examined_is_a_label_of_its_own(geometry: Geometry, image: np.ndarray, voxel: tuple, tmp_path: Path) -> None:
    hidden = np.zeros(geometry.shape, bool)
    hidden[0, :3] = True
    case = bundle(tmp_path, geometry, image, voxel, hidden=hidden)
    node = case.nodes["vtkMRMLLabelMapVolumeNode1"]
    assert (node.tag, node.attrib["name"]) == ("LabelMapVolume", f"{NAME} not examined")
    read = case.image("vtkMRMLLabelMapVolumeNode1", tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), hidden)
    assert read.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    display = case.nodes[node.attrib["displayNodeRef"]]
    table = case.nodes[display.attrib["colorNodeID"]]
    lines = case.file(case.nodes[table.attrib["storageNodeRef"]]).decode().splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [["0", "examined"], ["1", "not_examined"]]
    assert [line.split()[5] for line in lines] == ["0", "255"]  # only what was not examined has a colour
    for layers in (node.attrib for node in case.root if node.tag == "SliceComposite"):
        assert layers["labelVolumeID"] == "vtkMRMLLabelMapVolumeNode1"
        assert 0 < float(layers["labelOpacity"]) < 1
    plain = bundle(tmp_path, geometry, image, voxel, hidden=np.zeros_like(hidden))
    assert not any("labelVolumeID" in node.attrib or node.tag == "LabelMapVolume" for node in plain.root)
    assert not any("not_examined" in name for name in plain.files)


def test_every_reference_leads_to_a_node(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    case = bundle(tmp_path, geometry, hidden=np.ones(geometry.shape, bool))
    known = {*case.nodes, "vtkMRMLColorTableNodeGrey"}
    found = 0
    for node in case.root:
        attributes = node.attrib
        named = [attributes[key] for key in _REFERENCES if key in attributes]
        named += attributes.get("displayNodeRef", "").split()
        for role in filter(None, attributes.get("references", "").split(";")):
            named += role.partition(":")[2].split()
        assert set(named) <= known
        found += len(named)
    assert found > 20


@every
def test_every_view_goes_through_the_lesion(name: str, tmp_path: Path) -> None:
    geometry = GEOMETRIES[name]
    case = bundle(tmp_path, geometry)
    for view in VIEWS:
        np.testing.assert_allclose(case.place(view)[:3, 3], geometry.world(LESION), atol=1e-6)
        layers = case.nodes[f"vtkMRMLSliceCompositeNode{view}"].attrib
        assert layers["singletonTag"] == case.nodes[f"vtkMRMLSliceNode{view}"].attrib["singletonTag"] == view
        assert (layers["backgroundVolumeID"], layers["foregroundVolumeID"]) == ("vtkMRMLScalarVolumeNode1", "vtkMRMLScalarVolumeNode2")
        assert layers["foregroundOpacity"] == "0.6"
        assert layers["doPropagateVolumeSelection"] == "1"  # an integer switch of MRML
        assert layers["clipToBackgroundVolume"] == "true"  # a boolean one


@every
def test_the_hottest_voxel_of_the_file_is_where_it_was_planted(name: str, tmp_path: Path) -> None:
    geometry = GEOMETRIES[name]
    case = bundle(tmp_path, geometry)
    image = case.image("vtkMRMLScalarVolumeNode2", tmp_path)
    k, r, c = np.unravel_index(np.argmax(sitk.GetArrayFromImage(image)), SHAPE)
    place = np.multiply((-1, -1, 1), image.TransformIndexToPhysicalPoint((int(c), int(r), int(k))))
    np.testing.assert_allclose(place, geometry.world(LESION), atol=1e-6)
    _, header = nrrd.read(str(tmp_path / "volume.nrrd"))
    np.testing.assert_allclose(np.diag([-1, -1, 1]) @ header["space directions"].T, geometry.affine[:3, :3], atol=1e-12)
    back = case.image("vtkMRMLScalarVolumeNode1", tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), grey(geometry)[0])


@every
def test_every_view_shows_the_whole_volume(name: str, tmp_path: Path) -> None:
    geometry = GEOMETRIES[name]
    case = bundle(tmp_path, geometry)
    slices, rows, columns = geometry.shape
    ends = [(k, r, c) for k in (-0.5, slices - 0.5) for r in (-0.5, rows - 0.5) for c in (-0.5, columns - 0.5)]
    corners = np.array([(*geometry.world(end), 1) for end in ends])
    for view in VIEWS:
        on_screen = np.linalg.solve(case.place(view), corners.T)[:2]
        assert np.abs(on_screen).max() < case.height(view) / 2 < 1.1 * np.abs(on_screen).max()


def test_views_are_slicers_own_planes(tmp_path: Path) -> None:
    case = bundle(tmp_path, GEOMETRIES["oblique"])
    expected = {
        "Red": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "Green": [[-1, 0, 0], [0, 0, 1], [0, 1, 0]],
        "Yellow": [[0, 0, -1], [-1, 0, 0], [0, 1, 0]],
    }
    for view, axes in expected.items():
        np.testing.assert_array_equal(case.place(view)[:3, :3], axes)
    assert case.nodes["vtkMRMLLayoutNodevtkMRMLLayoutNode"].attrib["currentViewArrangement"] == "3"


def test_one_oblique_slice_is_shown_in_its_own_plane(tmp_path: Path) -> None:
    geometry = GEOMETRIES["oblique"]
    one = Geometry(geometry.affine, (1, *SHAPE[1:]))
    place = bundle(tmp_path, one, voxel=(0, 15, 5)).place("Red")
    to_view = np.linalg.inv(place)
    corners = [to_view @ (*one.world((0, r, c)), 1) for r, c in ((0, 0), (0, 17), (21, 0))]
    np.testing.assert_allclose([corner[2] for corner in corners], 0, atol=1e-6)
    assert corners[1][0] > corners[0][0]  # columns go to the right of the screen
    assert corners[2][1] < corners[0][1]  # rows go down
    np.testing.assert_allclose(np.abs(np.linalg.det(place)), 1, atol=1e-6)


@pytest.mark.parametrize("image", [grey(PICTURE), colour(PICTURE)], ids=["grey", "rgb"])
def test_a_picture_is_upright_in_the_red_view(image: np.ndarray, tmp_path: Path) -> None:
    case = bundle(tmp_path, PICTURE, image, PICTURE_LESION)
    row, column = PICTURE_LESION[1:]
    np.testing.assert_array_equal(case.place("Red")[:3, :2], [[-1, 0], [0, 1], [0, 0]])
    np.testing.assert_array_equal(case.place("Red")[:3, 3], [-column, -row, 0])
    assert case.nodes["vtkMRMLLayoutNodevtkMRMLLayoutNode"].attrib["currentViewArrangement"] == "6"


def test_a_photograph_keeps_its_colours(tmp_path: Path) -> None:
    case = bundle(tmp_path, PICTURE, colour(PICTURE), PICTURE_LESION)
    node = case.nodes["vtkMRMLVectorVolumeNode1"]
    assert node.tag == "VectorVolume"
    display = case.nodes[node.attrib["displayNodeRef"]]
    assert (display.tag, display.attrib["window"], display.attrib["level"]) == ("VectorVolumeDisplay", "255.0", "127.5")
    read = case.image("vtkMRMLVectorVolumeNode1", tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), np.moveaxis(colour(PICTURE), 0, -1))
    assert read.GetPixelIDTypeAsString() == "vector of 8-bit unsigned integer"
    assert case.nodes["vtkMRMLSliceCompositeNodeRed"].attrib["backgroundVolumeID"] == "vtkMRMLVectorVolumeNode1"


def test_the_map_is_coloured_by_the_scale_of_the_run(tmp_path: Path) -> None:
    case = bundle(tmp_path, GEOMETRIES["axial"], scale=MapScale(2.0, 10.0, 3.5))
    heat = case.nodes["vtkMRMLScalarVolumeDisplayNode2"].attrib
    assert [float(heat[key]) for key in ("window", "level", "lowerThreshold")] == [8, 6, 3.5]
    assert [heat[key] for key in ("applyThreshold", "autoThreshold", "autoWindowLevel")] == ["1", "0", "0"]
    assert float(heat["upperThreshold"]) > 1e20
    table = case.nodes[heat["colorNodeID"]]
    lines = case.file(case.nodes[table.attrib["storageNodeRef"]]).decode().splitlines()
    values = [[int(value) for value in line.split()] for line in lines if not line.startswith("#")]
    assert [value[0] for value in values] == list(range(256)) == [value[1] for value in values]
    np.testing.assert_array_equal([value[2:] for value in values], colour_table())
    legend = case.nodes["vtkMRMLColorLegendDisplayNode1"].attrib
    assert legend["references"] == "primaryDisplay:vtkMRMLScalarVolumeDisplayNode2;"
    assert legend["visibility"] == "true"
    assert "vtkMRMLColorLegendDisplayNode1" in case.nodes["vtkMRMLScalarVolumeNode2"].attrib["displayNodeRef"].split()


def test_the_image_gets_the_window_asked_for_or_a_robust_one(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    display = bundle(tmp_path, geometry, window=(-20.0, 60.0)).nodes["vtkMRMLScalarVolumeDisplayNode1"].attrib
    assert (display["window"], display["level"], display["autoWindowLevel"]) == ("80.0", "20.0", "0")
    image = grey(geometry)
    image[0, 0, 0, 0] = 30_000
    display = bundle(tmp_path, geometry, image).nodes["vtkMRMLScalarVolumeDisplayNode1"].attrib
    assert 1200 < float(display["window"]) < 1400


@pytest.mark.parametrize(
    ("change", "type_"),
    [
        (lambda image: image, "16-bit signed integer"),
        (lambda image: image + 0.25, "32-bit float"),
        (lambda image: image * 100, "32-bit float"),
    ],
    ids=["whole", "fractions", "large"],
)
def test_the_image_keeps_its_values_in_the_smallest_type(change, type_: str, tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    read = bundle(tmp_path, geometry, change(grey(geometry))).image("vtkMRMLScalarVolumeNode1", tmp_path)
    assert read.GetPixelIDTypeAsString() == type_
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), change(grey(geometry))[0])


def test_of_several_contrasts_the_first_is_shown(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    image = np.concatenate([grey(geometry), -grey(geometry)])
    read = bundle(tmp_path, geometry, image).image("vtkMRMLScalarVolumeNode1", tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), image[0])


def test_names_survive_xml_and_are_not_in_paths(tmp_path: Path) -> None:
    case = bundle(tmp_path, GEOMETRIES["axial"])
    assert case.nodes["vtkMRMLScalarVolumeNode1"].attrib["name"] == NAME
    assert case.nodes["vtkMRMLScalarVolumeNode2"].attrib["name"] == f"{NAME} anomaly map"
    assert str(tmp_path).encode() not in b"".join(case.files.values())


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    first = bundle(tmp_path / "one", GEOMETRIES["sheared"])
    assert first.text == bundle(tmp_path / "two", GEOMETRIES["sheared"]).text
    assert (tmp_path / "one/case.mrb").read_bytes() == (tmp_path / "two/case.mrb").read_bytes()


def test_the_image_must_be_on_the_grid_of_the_map(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    with pytest.raises(MedoodError, match=r"\(11, 22, 18\).*\(12, 22, 18\)"):
        write_bundle(tmp_path / "case.mrb", grey(geometry)[:, 1:], blob(geometry, LESION), geometry, SCALE, "case")
    assert list(tmp_path.iterdir()) == []


def test_hottest_voxel() -> None:
    array = np.zeros((4, 6, 8), np.float32)
    assert hottest_voxel(array) == (2, 3, 4)  # nothing is hot: the middle
    array[3, 0, 7] = 1e-6
    assert hottest_voxel(array) == (3, 0, 7)
