"""The region above the calibrated threshold of the map, as a binary segmentation (PS3.3 A.51)."""

from __future__ import annotations

import numpy as np

from medood.core.errors import InputError
from medood.dicom_objects.finding import Finding, Heat
from medood.dicom_objects.identity import derived_uid, identity
from medood.dicom_objects.library import codes, highdicom, pydicom
from medood.dicom_objects.source_slices import SourceSlices
from medood.export.colours import colour_table

LABEL = "above the threshold"


def segmentation(finding: Finding, source: SourceSlices) -> pydicom.Dataset:
    """Frames of the slices with a part of the region, none of the others. Raises InputError when there is no region, or no place for it."""
    heat = placed_heat(finding, source)
    region = heat.region
    if not region.any():
        raise InputError("nothing lies above the threshold of the map", "no_region")
    named = identity("segmentation", finding, source)
    made = highdicom.seg.Segmentation(
        source_images=source.planes,
        pixel_array=region.astype(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(finding, named["sop_instance_uid"])],
        content_label="ANOMALY",
        content_description="Region above the calibrated threshold of the map. Research.",
        **named,
    )
    _name_segment_in_each_frame(made)
    made.ContentCreatorName = ""
    if not finding.volume.geometry.in_patient:
        made.PatientOrientation = source.header.get("PatientOrientation") or None  # of an image that says no more of where it lies
    source.refer(made)
    return made


def placed_heat(finding: Finding, source: SourceSlices) -> Heat:
    """The map, where it can lie where its slices do. Raises InputError otherwise, with the reason alone."""
    if finding.heat is None:
        raise InputError("its detector gives scores only", "no_map")
    if source.misplaced:
        raise InputError(source.misplaced, "no_frame_of_reference")
    return finding.heat


def _segment(finding: Finding, sop_uid: str) -> highdicom.seg.SegmentDescription:
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=f"medood {finding.by.detector}",
        family=codes.DCM.ArtificialIntelligence,
        version=finding.by.medood,
        source="medood",
        parameters={"run": finding.by.checksum},
    )
    structure = codes.SCT.MorphologicallyAbnormalStructure
    red, green, blue, _ = colour_table()[len(colour_table()) // 2].tolist()
    return highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=LABEL,
        segmented_property_category=structure,
        segmented_property_type=structure,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=derived_uid(sop_uid, "region"),
        tracking_id=LABEL,
        display_color=highdicom.color.CIELabColor.from_rgb(red, green, blue),
    )


def _name_segment_in_each_frame(made: pydicom.Dataset) -> None:
    """Readers (MONAI's, highdicom's own references) look for the segment in each frame, although all may share it."""
    shared = made.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        segment = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence
        for frame in made.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence = segment
