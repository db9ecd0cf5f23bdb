"""The hottest slices as a key object selection (PS3.3 A.35.4), by which viewers leaf through them."""

from __future__ import annotations

from medood.core.errors import InputError
from medood.dicom_objects.finding import Finding
from medood.dicom_objects.identity import identity
from medood.dicom_objects.library import codes, highdicom, pydicom
from medood.dicom_objects.source_slices import SourceSlices


def key_objects(finding: Finding, source: SourceSlices) -> pydicom.Dataset:
    """Raises InputError for what was called normal: flags on every normal study would soon be looked at no more."""
    if finding.verdict.decision == "normal":
        raise InputError("it was called normal", "normal")
    chosen = [source.slices[number] for number in finding.hottest]
    by_uid = {instance.SOPInstanceUID: instance for instance in source.instances}
    content = highdicom.ko.KeyObjectSelection(
        document_title=codes.DCM.OfInterest,
        referenced_objects=[by_uid[each.sop_uid] for each in chosen],
        description=f"RESEARCH, not for diagnosis. Slices with the highest values of the anomaly map; {finding.verdict.headline}",
    )
    frames = iter(chosen)
    for item in content[0].ContentSequence:
        if item.ValueType == "IMAGE":
            frame = next(frames).frame
            if frame is not None:
                item.ReferencedSOPSequence[0].ReferencedFrameNumber = frame
    return highdicom.ko.KeyObjectSelectionDocument(evidence=source.instances, content=content, **identity("key_objects", finding, source))
