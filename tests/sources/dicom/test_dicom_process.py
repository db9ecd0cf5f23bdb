"""Codecs may crash, hang and print as they like: in a process of their own it costs one frame, and nothing reaches the terminal."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_writer import write_image
from pydicom.encaps import encapsulate

from medood.core.errors import InputError
from medood.sources.dicom.decoding import process
from medood.sources.dicom.dicom import Dicom

RLE = "1.2.840.10008.1.2.5"
JPEG_LS = "1.2.840.10008.1.2.4.80"
PIXELS = np.random.default_rng(2).integers(0, 4096, (48, 40)).astype(np.uint16)

# A process whose libraries do what the rows of the frame say, before they decode it as ever.
MISCHIEF = """
import sys; sys.path[:] = sys.argv[1:]
import ctypes, logging, os, time, warnings
from medood.sources.dicom.decoding import libraries, process

decode = libraries.decode

def mischief(library, frame, layout, syntax):
    if library == LIBRARY:
        ACT
    return decode(library, frame, layout, syntax)

libraries.decode = mischief
process.serve()
"""


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a library do something first, in new processes."""

    def start(act: str, library: str = "pyjpegls") -> None:
        monkeypatch.setattr(process, "_START", MISCHIEF.replace("LIBRARY", repr(library)).replace("ACT", act))

    process._close_all()
    yield start
    process._close_all()


def read(root: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    source = Dicom(root)
    (entry,) = source.index().entries
    volume = source.read(entry)
    return volume.image[0, 0], volume.issues


def write_damaged_rle(path: Path) -> None:
    """Runs that decode to more bytes than the frame has: the Rust library panics, and says so on the terminal."""
    write_image(path, PIXELS, syntax=RLE, bits=12, modality="CT", patient="p")
    dataset = pydicom.dcmread(path)
    runs = b"\x81\x07" * 99  # of 128 bytes each
    dataset.PixelData = encapsulate([struct.pack("<16L", 2, 64, 64 + len(runs), *[0] * 13) + runs + runs])
    dataset.save_as(path)


def test_a_panic_is_the_problem_of_its_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_damaged_rle(tmp_path / "bad")
    write_image(tmp_path / "good", PIXELS, syntax=RLE, bits=12)
    source = Dicom(tmp_path)
    bad, good = source.index().entries
    with pytest.raises(InputError, match="pylibjpeg: PanicException, pydicom: Warning") as caught:
        source.read(bad)
    assert caught.value.code == "pixel_decode:PanicException"
    np.testing.assert_array_equal(source.read(good).image[0, 0], PIXELS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "act",
    [
        "os.write(1, b'x' * 2**20)",
        "os.write(2, b'x' * 2**20)",
        "print('x')",
        "ctypes.CDLL(None).puts(b'x')",
        "warnings.warn('x')",
        "logging.getLogger('openjpeg').warning('x')",
    ],
)
def test_what_a_library_says_becomes_an_issue_and_reaches_no_terminal(
    tmp_path: Path, misbehaving: Any, capfd: pytest.CaptureFixture[str], act: str
) -> None:
    if "ctypes" in act and os.name == "nt":
        pytest.skip("the C library has another name")
    write_image(tmp_path / "image", PIXELS, syntax=JPEG_LS, bits=12)
    misbehaving(act)
    image, issues = read(tmp_path)
    np.testing.assert_array_equal(image, PIXELS)
    assert issues == ("decoder_warning:pyjpegls",)
    assert capfd.readouterr() == ("", "")


def test_what_a_library_said_of_one_frame_is_not_said_of_the_next(tmp_path: Path, misbehaving: Any) -> None:
    misbehaving("layout.rows == 47 and os.write(2, b'x')")
    for rows in (47, 48):
        write_image(tmp_path / f"{rows}" / "image", PIXELS[:rows], syntax=JPEG_LS, bits=12)
    assert [read(tmp_path / rows)[1] for rows in ("47", "48", "47")] == [("decoder_warning:pyjpegls",), (), ("decoder_warning:pyjpegls",)]


@pytest.mark.parametrize(
    "act", ["os.abort()", "raise MemoryError", "raise BaseException('Secret')", "time.sleep(99)", "raise Exception", "os._exit(0)"]
)
def test_another_library_takes_over_from_one_that_crashes_hangs_or_raises(
    tmp_path: Path, misbehaving: Any, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    write_image(tmp_path / "image", PIXELS, syntax=JPEG_LS, bits=12)
    monkeypatch.setattr(process, "SECONDS", 2.0 if "sleep" in act else 60.0)
    misbehaving(act)
    image, issues = read(tmp_path)
    np.testing.assert_array_equal(image, PIXELS)
    assert issues == ("decoder_warning:pyjpegls",)


@pytest.mark.parametrize(("act", "kind"), [("os.abort()", "Crash"), ("raise MemoryError", "MemoryError"), ("time.sleep(99)", "Timeout")])
def test_the_kind_of_a_failure_is_named(misbehaving: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, act: str, kind: str) -> None:
    """RLE is decoded by two libraries, of which the first does mischief and the second finds its frame damaged."""
    write_damaged_rle(tmp_path / "image")
    monkeypatch.setattr(process, "SECONDS", 2.0 if "sleep" in act else 60.0)
    misbehaving(act, "pylibjpeg")
    with pytest.raises(InputError, match=f"pylibjpeg: {kind}, pydicom: Warning") as caught:
        read(tmp_path)
    assert caught.value.code == f"pixel_decode:{kind}"


def test_threads_decode_in_processes_of_their_own(tmp_path: Path) -> None:
    process._close_all()
    for k in range(12):
        write_image(tmp_path / f"{k:02d}", PIXELS + k, syntax=RLE, bits=16)
    write_damaged_rle(tmp_path / "99")
    source = Dicom(tmp_path)
    entries = source.index().entries

    def first(k: int) -> float | str:
        try:
            return float(source.read(entries[k]).image[0, 0, 0, 0]) - PIXELS[0, 0]
        except InputError as error:
            return error.code

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(first, [*range(13)] * 3))
    assert found == [*range(12), "pixel_decode:PanicException"] * 3
    assert 1 <= len(process._idle) <= 4


def test_a_process_that_was_ended_while_idle_is_replaced(tmp_path: Path) -> None:
    write_image(tmp_path / "image", PIXELS, syntax=JPEG_LS, bits=12)
    read(tmp_path)
    for idle in process._idle:
        idle._process.kill()
        idle._process.wait()
    image, issues = read(tmp_path)
    np.testing.assert_array_equal(image, PIXELS)
    assert issues == ()


def test_without_processes_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "image", PIXELS, syntax=JPEG_LS, bits=12)
    process._close_all()
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="NoProcess"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_does_not_talk_to_the_decoders_of_its_parent(tmp_path: Path) -> None:
    write_image(tmp_path / "image", PIXELS, syntax=JPEG_LS, bits=12)
    read(tmp_path)
    assert process._idle
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, of which there are none that matter here
        child = os.fork()
    if child == 0:
        os._exit(len(process._idle))
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(read(tmp_path)[0], PIXELS)
