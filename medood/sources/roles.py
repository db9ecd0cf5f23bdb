"""What the names of folders and files tell: whose an image is, and whether it is one or the mask of one.

The first folder of a path is a patient only where it says nothing else: `imagesTr`, `train` or `normal` say what is in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal

_PART = r"(_?(tr|ts|va|train(ing)?|test|val(idation)?|images?|data))?"
_MASK_FOLDER = re.compile(rf"(labels?|masks?|segs?|segmentations?|annotations?|ground_?truths?|gt|rois?){_PART}", re.IGNORECASE)
_ROLE_FOLDER = re.compile(
    r"(images?|imgs?|data|dataset|raw|nii|nifti|niftis|scans?|volumes?|train(ing)?|test(ing)?|val(id(ation)?)?|held_?out|unlabell?ed|"
    r"normals?|abnormals?|anomal(y|ous|ies)|healthy|controls?|diseased?|good|bad|benign|malignant|positive|negative|inliers?|outliers?|"
    rf"id|ood|hgg|lgg|masks?|labels?){_PART}",
    re.IGNORECASE,
)
_MASK_NAME = re.compile(r"[_-](d?seg|segmentation|mask|labels?)(?![a-z])([_-]?\d+(?=\.))?|brainmask", re.IGNORECASE)
_NNUNET_FOLDER = re.compile(r"images(tr|ts|va)", re.IGNORECASE)
_CHANNEL = re.compile(r"_\d{4}(?=\.|$)")  # of nnU-Net: case_1_0000 and case_1_0001 are two channels of one case
_ENDINGS = re.compile(r"(\.nii(\.gz)?|\.[A-Za-z0-9]{1,5})$", re.IGNORECASE)


def group_of(name: str, by: Literal["subject", "folder", "file"]) -> str:
    """The key of the patient that a file belongs to, as far as its path below the root tells.

    "subject" is the BIDS label `sub-...` anywhere in the path, else the first folder that is no role, else the name of the case; "folder"
    is the folder that holds the file; a file without a folder, and "file", are a patient each.
    """
    if by == "file":
        return name
    folders = name.split("/")[:-1]
    if by == "folder":
        return "/".join(folders) or name
    bids = re.search(r"(?:^|/)(sub-[A-Za-z0-9]+)", name)
    if bids:
        return bids.group(1)
    last_role = max((i for i, folder in enumerate(folders) if _ROLE_FOLDER.fullmatch(folder)), default=-1)
    if last_role + 1 < len(folders):
        return folders[last_role + 1]
    case = case_of(name)
    return case if any(_NNUNET_FOLDER.fullmatch(folder) for folder in folders) else name


def is_named_mask(name: str) -> bool:
    """Whether the file's own name or one of its folders says that it is a mask."""
    *folders, file = name.split("/")
    return bool(_MASK_NAME.search(file)) or any(_MASK_FOLDER.fullmatch(folder) for folder in folders)


def case_of(name: str) -> str:
    """What an image and its mask have in common: the file's name without ending, channel and what says that it is a mask."""
    *folders, file = name.split("/")
    if any(_NNUNET_FOLDER.fullmatch(folder) for folder in folders):
        file = _CHANNEL.sub("", file)
    return _ENDINGS.sub("", _MASK_NAME.sub("", file))


def masks_by_name(names: Callable[[], Iterable[str]]) -> set[str]:
    """Those of the names that are called masks and have a file of the same case that is not. Asks for the names twice and keeps few."""
    masks = {name for name in names() if is_named_mask(name)}
    cases = {case_of(name) for name in masks}
    with_image = {case for name in (names() if masks else ()) if name not in masks and (case := case_of(name)) in cases}
    return {name for name in masks if case_of(name) in with_image}


def by_case(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of the files of each case that there is more than one of."""
    cases: dict[str, list[str]] = {}
    for name in names:
        cases.setdefault(case_of(name), []).append(name)
    return {case: found for case, found in cases.items() if len(found) > 1}
