"""What is written into a folder of objects, and where it says so; without any of the libraries that write it."""

from __future__ import annotations

KINDS = {
    "report": "findings",
    "segmentation": "region above the threshold",
    "picture": "hottest slices",
    "map": "anomaly map",
    "key_objects": "key slices",
}
"""The kinds of objects, and how their series is described."""

LIST = "objects.jsonl"
"""A line per entry: its id, the files of its objects by kind, and why kinds that were wanted are not there."""

NO_DICOM = "no_dicom"
"""Code of an entry that was not read from DICOM, and so belongs to no study."""
