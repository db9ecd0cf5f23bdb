"""Names of files made from ids."""

from __future__ import annotations

import pytest

from medood.export.names import FileNames, plain_name


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("a/b c.png", "a_b_c"),
        ("sub-01/anat/sub-01_FLAIR.nii.gz", "sub-01_anat_sub-01_FLAIR"),
        ("series 3", "series_3"),
        ("[/x]/a\rb.DCM", "x_a_b"),
        ("../../etc/passwd", "etc_passwd"),
        ("scan.v2", "scan.v2"),
        ("Müller/ürümqi.tif", "Müller_ürümqi"),
        ("u\u0308.png", "ü"),  # composed, as every system but one writes it
        ("写真.jpg", "写真"),
        ("\udcff.png", "image"),
        ("...", "image"),
        (".png", "image"),
        ("con.png", "_con"),
        ("LPT1", "_LPT1"),
        ("console.png", "console"),
    ],
)
def test_a_name_is_readable_and_fits_every_system(identifier: str, name: str) -> None:
    assert plain_name(identifier) == name


@pytest.mark.parametrize("identifier", ["x" * 5000, "写" * 5000, "é/" * 3000])
def test_a_long_id_keeps_its_end_and_leaves_room_for_endings(identifier: str) -> None:
    name = plain_name(identifier + "_last.png")
    assert name.endswith("_last")
    assert len(name.encode("utf-8")) <= 120


def test_no_two_ids_share_a_file_even_where_capitals_do_not_count() -> None:
    names = FileNames(["taken"])
    given = [names.give(i) for i in ("a.png", "a.jpg", "A.png", "a-2.png", "Taken", "STRASSE", "straße")]
    assert given == ["a", "a-2", "A-3", "a-2-2", "Taken-2", "STRASSE", "straße-2"]
    assert len({name.casefold() for name in given}) == len(given)


def test_many_ids_of_one_name_take_no_longer_than_others() -> None:
    names = FileNames()
    given = {names.give("same.png") for _ in range(20_000)}
    assert {"same", "same-2", "same-20000"} <= given
    assert len(given) == 20_000
