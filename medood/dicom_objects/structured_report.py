"""Scores and decision as a structured report (PS3.16 TID 1500), which systems can read and viewers show as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medood.dicom_objects.finding import Finding
from medood.dicom_objects.identity import derived_uid, identity
from medood.dicom_objects.library import Code, codes, highdicom, pydicom
from medood.dicom_objects.segmentation import LABEL
from medood.dicom_objects.source_slices import Slice, SourceSlices

_OWN = "99MEDOOD"
_SCORE = Code("anomaly-score", _OWN, "Anomaly score")
_THRESHOLD = Code("threshold", _OWN, "Threshold of the anomaly score")
_RATE = Code("false-alarm-rate", _OWN, "False-alarm rate at the threshold")
_EXAMINED = Code("examined", _OWN, "Share of the body that was examined")
_P_VALUE = Code("C44185", "NCIt", "P-Value")
_DECISION = Code("decision", _OWN, "Decision of the anomaly detector")
_DECISIONS = {
    "anomalous": Code("263654008", "SCT", "Abnormal"),
    "normal": Code("17621005", "SCT", "Normal"),
    "out_of_domain": Code("out-of-domain", _OWN, "Out of domain: not to be judged"),
    "": Code("undecided", _OWN, "No decision on the whole"),
}
_PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MR unspecified body region"),
    "PT": Code("44136-0", "LN", "PT unspecified body region"),
    "US": Code("25061-3", "LN", "US unspecified body region"),
    **dict.fromkeys(("CR", "DX"), Code("43468-8", "LN", "XR unspecified body region")),
}
_ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_COMMENT = Code("121106", "DCM", "Comment")
_PERCENT = Code("%", "UCUM", "Percent")


def structured_report(finding: Finding, source: SourceSlices, region: pydicom.Dataset | None) -> pydicom.Dataset:
    """A group of measurements for the whole, one for each of the hottest slices, and one for the `region` of a segmentation, if any."""
    named = identity("report", finding, source)
    algorithm = highdicom.sr.AlgorithmIdentification(
        name=f"medood {finding.by.detector}",
        version=finding.by.medood,
        parameters=[f"run checksum {finding.by.checksum}"],
        family=codes.DCM.ArtificialIntelligence,
    )
    groups = [_whole(finding, source, algorithm, named["sop_instance_uid"])]
    groups += _hottest(finding, source, algorithm, named["sop_instance_uid"])
    if region is not None:
        groups.append(_region(finding, source, region, algorithm))
    observer = highdicom.sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid(finding.by.checksum, "device"),
        name="medood",
        manufacturer_name="medood",
        model_name=named["manufacturer_model_name"],
    )
    context = highdicom.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=observer)
    content = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(observer_device_context=context),
        procedure_reported=_PROCEDURES.get(finding.volume.entry.origin.modality, _ANY_PROCEDURE),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    evidence = [*source.instances, *([region] if region is not None else [])]
    return highdicom.sr.Comprehensive3DSR(evidence=evidence, content=content[0], is_complete=True, is_final=False, **named)


def _whole(finding: Finding, source: SourceSlices, algorithm: Any, key: str) -> Any:
    verdict, rule = finding.verdict, finding.rule
    numbers = [(_SCORE, verdict.score, codes.UCUM.NoUnits), (_P_VALUE, verdict.p_value, codes.UCUM.NoUnits)]
    if rule is not None:
        numbers += [(_THRESHOLD, rule.threshold, codes.UCUM.NoUnits), (_RATE, 100 * rule.false_alarm_rate, _PERCENT)]
    numbers.append((_EXAMINED, 100 * verdict.examined, _PERCENT))
    group = highdicom.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(derived_uid(key, "whole"), "the whole series or image"),
        algorithm_id=algorithm,
        measurements=_measured(numbers),
        qualitative_evaluations=[highdicom.sr.QualitativeEvaluation(_DECISION, _DECISIONS.get(verdict.decision, _DECISIONS[""]))],
        source_images=_sources(source.slices),
    )
    sentences = ["Research, not for diagnosis.", *verdict.warnings]
    group[0].ContentSequence.append(
        highdicom.sr.TextContentItem(
            name=_COMMENT, value=" ".join(sentences), relationship_type=highdicom.sr.RelationshipTypeValues.CONTAINS
        )
    )
    return group


def _hottest(finding: Finding, source: SourceSlices, algorithm: Any, key: str) -> list[Any]:
    groups = []
    for number in finding.hottest if len(source.slices) > 1 else []:
        score, p_value = finding.of_slice(number)
        highest = None if finding.heat is None else float(finding.heat.array[number].max())
        measured = _measured(
            [
                (_SCORE, score, codes.UCUM.NoUnits),
                (_P_VALUE, p_value, codes.UCUM.NoUnits),
                (Code("map-maximum", _OWN, "Highest value of the anomaly map"), highest, codes.UCUM.NoUnits),
            ]
        )
        if measured:
            tracking = highdicom.sr.TrackingIdentifier(derived_uid(key, "slice", number), f"slice {number}")
            group = highdicom.sr.MeasurementsAndQualitativeEvaluations
            sources = _sources([source.slices[number]])
            groups.append(group(tracking_identifier=tracking, algorithm_id=algorithm, measurements=measured, source_images=sources))
    return groups


def _region(finding: Finding, source: SourceSlices, region: pydicom.Dataset, algorithm: Any) -> Any:
    """The segmentation, by reference, with its volume or, where millimetres are not known, its pixels."""
    heat = finding.heat
    assert heat is not None
    count, geometry = int(np.count_nonzero(heat.region)), finding.volume.geometry
    if geometry.in_patient and geometry.spacing_known:
        volume = count * abs(float(np.linalg.det(geometry.affine[:3, :3])))
        size = (Code("118565006", "SCT", "Volume"), volume, Code("mm3", "UCUM", "cubic millimeter"))
    else:
        size = (Code("pixels", _OWN, "Pixels above the threshold"), float(count), codes.UCUM.NoUnits)
    found = source.slices[int(heat.region.any((1, 2)).argmax())]
    segment = highdicom.sr.ReferencedSegment(
        sop_class_uid=region.SOPClassUID,
        sop_instance_uid=region.SOPInstanceUID,
        segment_number=1,
        source_images=[highdicom.sr.SourceImageForSegmentation(found.sop_class, found.sop_uid, _frames(found))],
    )
    return highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(derived_uid(region.SOPInstanceUID, "region"), LABEL),
        referenced_segment=segment,
        algorithm_id=algorithm,
        finding_type=codes.SCT.MorphologicallyAbnormalStructure,
        measurements=_measured([size]),
    )


def _measured(numbers: Sequence[tuple[Code, float | None, Code]]) -> list[Any]:
    """Of the numbers that there are; written with the digits that an element holds."""
    return [highdicom.sr.Measurement(name, float(f"{value:.6g}"), unit) for name, value, unit in numbers if value is not None]


def _sources(slices: Sequence[Slice]) -> list[Any]:
    """References to instances, each once, with the frames that are meant."""
    frames: dict[tuple[str, str], list[int]] = {}
    for each in slices:
        frames.setdefault((each.sop_class, each.sop_uid), []).extend(_frames(each) or [])
    kind = highdicom.sr.SourceImageForMeasurementGroup
    return [kind(sop_class, sop_uid, numbers or None) for (sop_class, sop_uid), numbers in frames.items()]


def _frames(each: Slice) -> list[int] | None:
    return None if each.frame is None else [each.frame]
