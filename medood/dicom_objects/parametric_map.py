"""The map itself in float32, as a parametric map (PS3.3 A.75), so that 3D Slicer shows it the right way up."""

from __future__ import annotations

import numpy as np

from medood.core.errors import InputError
from medood.core.map_scale import MapScale
from medood.dicom_objects.finding import Finding
from medood.dicom_objects.identity import identity
from medood.dicom_objects.library import codes, highdicom, pydicom
from medood.dicom_objects.segmentation import placed_heat
from medood.dicom_objects.source_slices import SourceSlices


def parametric_map(finding: Finding, source: SourceSlices) -> pydicom.Dataset:
    """A frame for every slice. Raises InputError when there is no map, or no place for it."""
    heat = placed_heat(finding, source)
    if not finding.volume.geometry.in_patient:
        raise InputError("a parametric map must lie in the patient, and nothing says where the image does", "no_frame_of_reference")
    array = np.ascontiguousarray(heat.array, np.float32)
    scale = heat.scale
    meaning = highdicom.pm.RealWorldValueMapping(
        lut_label="anomaly",
        lut_explanation="Anomaly map: higher is more anomalous",
        unit=codes.UCUM.NoUnits,
        value_range=(float(array.min()), float(array.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.DCM.ClassActivation,
    )
    made = highdicom.pm.ParametricMap(
        source_images=source.planes,
        pixel_array=array,
        contains_recognizable_visual_features=str(source.header.get("RecognizableVisualFeatures", "NO")) == "YES",
        real_world_value_mappings=[meaning],
        voi_lut_transformations=[_window(scale)],
        content_label="ANOMALY_MAP",
        content_description="Anomaly map. Research.",
        **identity("map", finding, source),
    )
    _say_anatomy(made)
    _ascend(made)
    made.ContentCreatorName = ""
    source.refer(made)
    return made


def _window(scale: MapScale) -> highdicom.VOILUTTransformation:
    """The colours of the run; a plain linear window would have to be at least 1 wide."""
    exact = highdicom.VOILUTFunctionValues.LINEAR_EXACT
    return highdicom.VOILUTTransformation((scale.low + scale.high) / 2, scale.high - scale.low, voi_lut_function=exact)


def _say_anatomy(made: pydicom.Dataset) -> None:
    """dcmqi, which 3D Slicer reads parametric maps with, ends without a word where a map does not say what part of the body it shows."""
    region = pydicom.Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "38266002", "SCT", "Entire body"
    anatomy = pydicom.Dataset()
    anatomy.AnatomicRegionSequence, anatomy.FrameLaterality = [region], "U"
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]


def _ascend(made: pydicom.Dataset) -> None:
    """Put the frames into ascending order along the normal of their plane. dcmqi takes their order for their place; highdicom's falls."""
    frames = list(made.PerFrameFunctionalGroupsSequence)
    shared = made.SharedFunctionalGroupsSequence[0]
    if len(frames) < 2 or "PlaneOrientationSequence" not in shared:
        return
    directions = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    normal = np.cross(directions[:3], directions[3:])
    places = np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames], float) @ normal
    if places[0] < places[-1]:
        return
    pixels = np.frombuffer(made.FloatPixelData, "<f4").reshape(len(frames), -1)
    made.FloatPixelData = np.ascontiguousarray(pixels[::-1]).tobytes()
    highest = np.max([frame.FrameContentSequence[0].DimensionIndexValues for frame in frames], axis=0)
    for frame in frames:
        content = frame.FrameContentSequence[0]
        turned = highest + 1 - np.array(content.DimensionIndexValues)
        content.DimensionIndexValues = np.where(highest > 1, turned, 1).tolist()
    made.PerFrameFunctionalGroupsSequence = frames[::-1]
