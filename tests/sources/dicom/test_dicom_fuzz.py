"""One file never ends a folder: hundreds of damaged files, each beside a good one."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_damage import DEEP, SYNTAXES, damaged, write_kinds
from dicom_writer import write_image

from medood.core.errors import InputError
from medood.sources.dicom.dicom import Dicom

INPUTS = 12  # for each file of each transfer syntax


def read_both(root: Path) -> list[str]:
    """Reads a folder of `good` and `bad`, and returns all that was said. Fails unless the good one is whole and the bad one mentioned."""
    source = Dicom(root)
    index = source.index()
    said, seen = [repr(index)], {name for problem in index.problems for name in (problem.path, *problem.files)}
    good = None
    for entry in index.entries:
        names = [file.name for file in entry.files]
        seen.update(names)
        try:
            volume = source.read(entry)
        except InputError as error:
            said += [str(error), error.code, repr(error.__context__), repr(error.__cause__)]
            continue
        assert np.isfinite(volume.image).all()
        said.append(repr(volume.issues))
        if names == ["good"]:
            good = volume.image[0, 0]
    np.testing.assert_array_equal(good, DEEP)
    assert "bad" in seen
    return said


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_whatever_a_file_holds_the_other_is_read_and_nobody_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder, syntax: str
) -> None:
    root = tmp_path / "folder"
    write_image(root / "good", DEEP, modality="CT", patient="P")
    paths = write_kinds(tmp_path / "kinds", SYNTAXES[syntax])
    random = np.random.default_rng(zlib.crc32(syntax.encode()))
    capfd.readouterr()
    recwarn.clear()
    for path in paths:
        content = path.read_bytes()
        for number in range(INPUTS):
            (root / "bad").write_bytes(damaged(content, random))
            shutil.copy(root / "bad", tmp_path / "last")  # to look at when this fails
            said = "".join(read_both(root))
            assert "secret" not in said.lower(), number
            assert "19700131" not in said, number
    assert capfd.readouterr() == ("", "")
    assert not [warning.message for warning in recwarn]
