"""What is found in a folder and what is said about it: by content, from headers alone, and without a word about the patient."""

from __future__ import annotations

import logging
import os
import struct
import threading
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_writer import SECRET, image_dataset, save, write_enhanced, write_image, write_series
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medood.core.errors import InputError
from medood.core.volume import Problem
from medood.sources.dicom import series
from medood.sources.dicom.dicom import Dicom
from medood.sources.dicom.library import quiet

PIXELS = np.arange(48, dtype=np.uint16).reshape(6, 8)
GRID = np.diag([-1.0, -1.0, 2.0, 1.0])


def problem(root: Path) -> Problem:
    """The only thing found."""
    index = Dicom(root).index()
    assert index.entries == ()
    assert len(index.problems) == 1
    return index.problems[0]


def without_pixels(sop_class: str) -> Dataset:
    dataset = image_dataset(PIXELS)
    dataset.SOPClassUID = sop_class
    del dataset.PixelData, dataset.Rows
    return dataset


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("scan.dcm", b"", "unreadable"),
        ("scan.dcm", b"just a text, whatever its name says\n" * 9, "not_dicom"),
        (".DS_Store", b"\0\0\0\1Bud1" * 99, "not_dicom"),
        ("short", b"\x08\x00", "not_dicom"),
        ("random", bytes(range(256)) * 40, "not_dicom"),
        ("like", b"\x08\x00\x05\x00CS\x04\x00" + b"text" + b"\xff" * 400, "not_dicom"),
    ],
)
def test_files_that_are_no_dicom_are_named(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = problem(tmp_path)
    assert (found.path, found.code) == (name, code)
    assert found.message.endswith(".")


@pytest.mark.parametrize(
    ("sop_class", "word", "code"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR", "no_image"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set", "no_image"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Presentation State", "no_image"),
        ("1.2.840.10008.1.3.10", "DICOMDIR", "dicomdir"),
        ("1.2.3.4", "private", "no_image"),
    ],
)
def test_objects_without_pixels_are_named(tmp_path: Path, sop_class: str, word: str, code: str) -> None:
    save(without_pixels(sop_class), tmp_path / "object")
    found = problem(tmp_path)
    assert found.code == code
    assert word in found.message


@pytest.mark.parametrize(("number", "word"), [("66.4", "segmentation"), ("481.2", "dose"), ("77.1.6", "microscopy")])
def test_objects_with_pixels_that_are_no_pictures_are_named(tmp_path: Path, number: str, word: str) -> None:
    write_image(tmp_path / "object", PIXELS, extra={"SOPClassUID": f"1.2.840.10008.5.1.4.1.1.{number}"})
    found = problem(tmp_path)
    assert found.code == "no_image"
    assert word in found.message


def test_a_mosaic_of_slices_is_no_slice(tmp_path: Path) -> None:
    write_image(tmp_path / "fmri", PIXELS, modality="MR", extra={"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]})
    assert problem(tmp_path).code == "mosaic"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("missing", [1, 40, 96])
def test_a_file_cut_off_in_its_pixels_is_found_by_its_size(tmp_path: Path, syntax: str, missing: int) -> None:
    write_image(tmp_path / "image", PIXELS, syntax=syntax)
    content = (tmp_path / "image").read_bytes()
    (tmp_path / "image").write_bytes(content[:-missing])
    found = problem(tmp_path)
    assert found.code == "truncated"
    assert f"{96 - missing} of 96 bytes" in found.message


def test_pixel_data_shorter_than_rows_and_columns_want(tmp_path: Path) -> None:
    write_image(tmp_path / "image", PIXELS, extra={"Rows": 7})
    assert problem(tmp_path).code == "truncated"


@pytest.mark.parametrize("left", [200, 400, 600])
def test_a_file_cut_off_in_its_header_is_no_image(tmp_path: Path, left: int) -> None:
    write_image(tmp_path / "image", PIXELS)
    (tmp_path / "image").write_bytes((tmp_path / "image").read_bytes()[:left])
    assert problem(tmp_path).code in ("no_image", "unreadable")


@pytest.mark.parametrize("cut", [128 + 4, None])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_files_without_preamble_or_without_any_meta_header_are_read(tmp_path: Path, syntax: str, cut: int | None) -> None:
    write_image(tmp_path / "image", PIXELS, syntax=syntax)
    content = (tmp_path / "image").read_bytes()
    cut = cut or 132 + 12 + struct.unpack("<L", content[140:144])[0]
    (tmp_path / "image").write_bytes(content[cut:])
    source = Dicom(tmp_path)
    (entry,) = source.index().entries
    np.testing.assert_array_equal(source.read(entry).image[0, 0], PIXELS)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("Rows", None), ("Rows", 0), ("NumberOfFrames", 2**31 - 1), ("NumberOfFrames", "many"), ("PixelSpacing", ["x", "y"])],
)
def test_headers_that_make_no_sense_are_unreadable(tmp_path: Path, keyword: str, value: Any) -> None:
    dataset = image_dataset(PIXELS)
    if isinstance(value, str | list):
        dataset.add_new(keyword, "LO", value)
    elif value is None:
        delattr(dataset, keyword)
    else:
        setattr(dataset, keyword, value)
    save(dataset, tmp_path / "image", "1.2.840.10008.1.2")
    assert problem(tmp_path).code == "unreadable"


def test_a_promise_of_more_compressed_frames_than_the_file_can_hold(tmp_path: Path) -> None:
    write_image(tmp_path / "image", PIXELS, syntax="1.2.840.10008.1.2.5")
    dataset = pydicom.dcmread(tmp_path / "image")
    dataset.NumberOfFrames = 10**6
    dataset.save_as(tmp_path / "image")
    assert problem(tmp_path).code == "truncated"


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Dicom(tmp_path / "nowhere").index()


def test_a_root_that_is_a_file_stands_for_itself(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_image(tmp_path / name, PIXELS)
    (entry,) = Dicom(tmp_path / "one").index().entries
    assert entry.id == "one"
    assert entry.files == (tmp_path / "one",)


def test_a_file_that_vanished_is_explained(tmp_path: Path) -> None:
    source = Dicom(tmp_path)
    path = write_image(tmp_path / "image", PIXELS)
    (entry,) = source.index().entries
    path.unlink()
    with pytest.raises(InputError, match="image: the file cannot be opened"):
        source.read(entry)


def test_a_file_that_changed_since_it_was_indexed_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, np.stack([PIXELS] * 3), GRID)
    source = Dicom(tmp_path)
    (entry,) = source.index().entries
    write_image(paths[1], PIXELS[:4])
    with pytest.raises(InputError, match=r"0001\.dcm differs") as caught:
        source.read(entry)
    assert caught.value.code == "mixed_geometry"


@pytest.mark.parametrize(("stated", "shown"), [("XC", "XC"), ("DF", "DF"), ("DOE JOHN", ""), ("MRI", ""), ("", "")])
def test_a_modality_is_one_that_the_standard_names(tmp_path: Path, stated: str, shown: str) -> None:
    """Anything else may be the name of a person, and modalities are shown."""
    write_image(tmp_path / "image", PIXELS, extra={"Modality": stated})
    (entry,) = Dicom(tmp_path).index().entries
    assert entry.origin.modality == shown


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere" / "image", PIXELS)
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root)
    (root / "broken").symlink_to(tmp_path / "nothing")
    index = Dicom(root).index()
    assert [entry.id for entry in index.entries] == ["linked/image"]
    assert [(p.path, p.code) for p in index.problems] == [("broken", "unreadable")]


def test_the_index_reads_no_pixels(tmp_path: Path) -> None:
    """The files say that they have 64 MiB of pixels, a hole in the file; and there are 8 MiB that belong to the maker of the scanner."""
    for name, syntax in (("a", "1.2.840.10008.1.2"), ("b", "1.2.840.10008.1.2.1")):
        dataset = image_dataset(np.zeros((4, 4), np.uint16))
        dataset.Rows, dataset.Columns = 4096, 8192
        dataset.add_new(0x00291010, "OB", bytes(2**23))
        save(dataset, tmp_path / name, syntax)
        del dataset
        content = (tmp_path / name).read_bytes()
        with (tmp_path / name).open("wb") as file:
            file.write(content[:-36] + struct.pack("<L", 2**26))
            file.truncate(len(content) - 32 + 2**26)
    tracemalloc.start()
    index = Dicom(tmp_path).index()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [entry.id for entry in index.entries] == ["a", "b"]
    assert peak < 2**22


def _everything_broken(root: Path) -> None:
    """Files that provoke every text this source can write, with a name planted wherever it can be."""
    stack = np.stack([PIXELS] * 6)
    write_series(root / "hole", stack, GRID, skip=(2,))
    write_series(root / "twice", stack, GRID, series="1.2.3")
    write_series(root / "twice", stack, GRID, series="1.2.3", names=list("abcdef"))
    write_series(root / "good", stack, GRID)
    write_enhanced(root / "frames", stack, GRID)
    write_image(root / "lossless", PIXELS.repeat(8, 0).repeat(8, 1), syntax="1.2.840.10008.1.2.4.80")
    content = (root / "lossless").read_bytes()
    (root / "cut").write_bytes(content[:-100])
    (root / "header").write_bytes(content[:500])
    for keyword in ("ImagePositionPatient", "PixelSpacing", "RescaleSlope", "NumberOfFrames", "EchoTime", "WindowCenter", "Rows"):
        dataset = image_dataset(PIXELS, modality="CT")
        dataset.add_new(keyword, "LO", [SECRET] * 3)
        save(dataset, root / "implicit" / keyword, "1.2.840.10008.1.2")
        save(dataset, root / "explicit" / keyword)
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        item = Dataset()
        item.add_new("LUTDescriptor", "LO", [SECRET] * 3)
        item.add_new("LUTData", "LO", SECRET)
        write_image(root / keyword, PIXELS, extra={keyword: Sequence([item])})
    for keyword in ("PixelPaddingValue", "BitsStored", "PhotometricInterpretation", "PatientBirthDate", "SpecificCharacterSet"):
        dataset = image_dataset(PIXELS, modality="CT")
        dataset.add_new(keyword, "LO", SECRET)
        save(dataset, root / "late" / keyword, "1.2.840.10008.1.2")
    save(without_pixels("1.2.840.10008.5.1.4.1.1.88.33"), root / "report")
    (root / "text.dcm").write_text(SECRET * 99)


def test_no_text_names_the_patient(tmp_path: Path, caplog: Any, capfd: Any, recwarn: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _everything_broken(tmp_path)
    caplog.set_level(logging.DEBUG)
    capfd.readouterr()
    caplog.clear()
    pydicom.config.debug(True, default_handler=False)
    pydicom.config.settings.reading_validation_mode = pydicom.config.WARN
    texts = []
    try:
        source = Dicom(tmp_path)
        index = source.index()
        for entry in index.entries:
            try:
                volume = source.read(entry)
                texts += [repr(volume.entry), repr(volume.issues), repr(volume.voi)]
            except InputError as error:
                texts += [str(error), repr(error), error.code, repr(error.__context__), repr(error.__cause__)]
    finally:
        pydicom.config.debug(False)
    texts += map(repr, index.problems)
    texts += [record.getMessage() for record in caplog.records] + [str(warning.message) for warning in recwarn] + list(capfd.readouterr())
    assert len(index.entries) > 3
    assert len(index.problems) > 12
    assert {"nonuniform_spacing", "duplicate_positions", "unreadable", "no_image", "not_dicom"} <= {p.code for p in index.problems}
    assert not [text for text in texts if "secret" in text.lower() or "19700131" in text]
    assert not caplog.records
    assert not len(recwarn)


@pytest.mark.parametrize("function", ["open_file", "read_slice"])
def test_the_words_of_an_unexpected_error_are_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def failing(*arguments: object) -> None:
        raise LookupError(SECRET)

    write_image(tmp_path / "image", PIXELS)
    source = Dicom(tmp_path)
    (entry,) = source.index().entries
    monkeypatch.setattr(f"medood.sources.dicom.volume.{function}", failing)
    with pytest.raises(InputError, match="LookupError") as caught:
        source.read(entry)
    assert caught.value.code == "pixel_decode:LookupError"
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    monkeypatch.setattr("medood.sources.dicom.headers.planes_of", failing)
    assert SECRET not in problem(tmp_path).message
    assert "LookupError" in problem(tmp_path).message


def test_too_little_memory_for_a_volume_is_its_problem_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object) -> None:
        raise MemoryError

    write_image(tmp_path / "image", PIXELS)
    source = Dicom(tmp_path)
    (entry,) = source.index().entries
    monkeypatch.setattr("medood.sources.dicom.volume.geometry_of", failing)
    with pytest.raises(InputError, match="image: there is not enough memory") as caught:
        source.read(entry)
    assert caught.value.code == "out_of_memory"


def test_a_person_who_stops_the_program_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    write_image(tmp_path / "image", PIXELS)
    source = Dicom(tmp_path)
    (entry,) = source.index().entries
    monkeypatch.setattr("medood.sources.dicom.volume.read_slice", stopped)
    with pytest.raises(KeyboardInterrupt):
        source.read(entry)
    monkeypatch.setattr("medood.sources.dicom.headers.planes_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        source.index()


@pytest.mark.parametrize(
    ("name", "code"), [("__init__.py", "not_dicom"), ("1.2.840", "unreadable"), ("IM0001", "unreadable"), ("A.IMA", "unreadable")]
)
def test_an_empty_file_is_missed_only_if_its_name_says_that_it_was_an_image(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / name).touch()
    assert problem(tmp_path).code == code


def test_headers_that_make_no_sense_together_are_a_problem_of_their_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The good series beside them is found all the same."""
    write_series(tmp_path / "a", np.stack([PIXELS] * 3), GRID, series="1.2.3")
    write_series(tmp_path / "b", np.stack([PIXELS] * 3), GRID, series="1.2.4")
    whole = series._series_stacks

    def failing(found: Any, rule: Any) -> Any:
        if found.planes[0].file.series_uid == "1.2.3":
            raise FloatingPointError(SECRET)
        return whole(found, rule)

    monkeypatch.setattr(series, "_series_stacks", failing)
    index = Dicom(tmp_path).index()
    assert [entry.id for entry in index.entries] == ["b"]
    assert [(p.path, p.series_uid, len(p.files)) for p in index.problems] == [("a", "1.2.3", 3)]
    assert index.problems[0].message == "The headers make no sense together (FloatingPointError). Export the series again."


def test_silence_ends_with_the_last_of_overlapping_blocks(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pydicom.pixels.decoders.base")
    before = pydicom.config.settings.reading_validation_mode, list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other, daemon=True)
    with quiet(), quiet():
        thread.start()
        inside.wait()
    logger.critical(SECRET)
    leave.set()
    thread.join()
    logger.critical("heard")
    assert [record.message for record in caplog.records] == ["heard"]
    assert (pydicom.config.settings.reading_validation_mode, list(warnings.filters)) == before


def test_silence_ends_when_an_error_leaves_it() -> None:
    level = logging.getLogger("pydicom").level
    with pytest.raises(KeyError), quiet():
        raise KeyError
    assert logging.getLogger("pydicom").level == level
