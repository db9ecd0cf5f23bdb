"""3D Slicer reads parametric maps and segmentations with dcmqi (pip install dcmqi): what it makes of them must lie in place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from export_phantoms import LESION
from findings import PLACES, finding_of, read_kind, write_kind

from medood.dicom_objects.object_folder import ObjectFolder

pytestmark = pytest.mark.skipif(not shutil.which("paramap2itkimage"), reason="dcmqi is not installed")


def converted(tool: str, file: Path, folder: Path) -> sitk.Image:
    folder.mkdir()
    command = [tool, "--inputDICOM", str(file), "--outputDirectory", str(folder), "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    return sitk.ReadImage(str(next(folder.glob("*.nrrd"))))


@pytest.mark.parametrize("kind", [*(place for place in PLACES if place != "sheared"), "enhanced"])
def test_slicer_finds_map_and_region_where_the_lesion_is(kind: str, tmp_path: Path) -> None:
    finding = finding_of(read_kind(write_kind(tmp_path / "images", kind)))
    ObjectFolder(tmp_path / "objects", kinds=("map", "segmentation")).add(finding)
    (folder,) = (path for path in (tmp_path / "objects").iterdir() if path.is_dir())
    lesion = finding.volume.geometry.world(LESION) * (-1, -1, 1)
    heat = converted("paramap2itkimage", folder / "map.dcm", tmp_path / "pm")
    peak = np.unravel_index(np.argmax(sitk.GetArrayFromImage(heat)), heat.GetSize()[::-1])
    np.testing.assert_allclose(heat.TransformIndexToPhysicalPoint([int(i) for i in peak[::-1]]), lesion, atol=1e-2)
    region = converted("segimage2itkimage", folder / "segmentation.dcm", tmp_path / "seg")
    inside = np.argwhere(sitk.GetArrayFromImage(region) > 0)
    found = np.mean([region.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]]) for index in inside], axis=0)
    voxels = np.argwhere(finding.heat.region)
    assert len(inside) == len(voxels)
    np.testing.assert_allclose(found, np.mean([finding.volume.geometry.world(v) for v in voxels], axis=0) * (-1, -1, 1), atol=1e-2)
