"""Help texts on a terminal of any width."""

import pytest

from medood.recipe import catalogue
from medood.tasks.reference.prose import wrapped

DOCSTRING = """\
Learns to tell by which flip, shift and turn a normal image was changed; where it cannot tell, the image is anomalous, as here.

transforms     which are told apart:
               "all": 72, a flip x 9 shifts by a quarter of the side x 4 quarter turns. For objects that have an upright position, such
               as radiographs
               "turns": 8
depth, width   of the network
encoder_learning_rate
               of Adam
tune_everything  the search moves a copy of the generator too, one for every image and start, as in the paper. Scoring takes about five
               times as long

Parts: "one",
"two"."""


def test_lines_are_filled_to_the_width_and_lists_keep_their_shape():
    assert wrapped(DOCSTRING, 60).splitlines() == [
        "Learns to tell by which flip, shift and turn a normal image",
        "was changed; where it cannot tell, the image is anomalous,",
        "as here.",
        "",
        "transforms     which are told apart:",
        '               "all": 72, a flip x 9 shifts by a quarter of',
        "               the side x 4 quarter turns. For objects that",
        "               have an upright position, such as radiographs",
        '               "turns": 8',
        "depth, width   of the network",
        "encoder_learning_rate",
        "               of Adam",
        "tune_everything  the search moves a copy of the generator",
        "                 too, one for every image and start, as in",
        "                 the paper. Scoring takes about five times",
        "                 as long",
        "",
        'Parts: "one",',
        '"two".',
    ]


def test_what_is_fenced_stays_as_it_is():
    table = "path,group,label                " + "x" * 100 + "\nnext, which would be joined otherwise"
    assert wrapped(f"A table:\n```\n{table}\n```\nand more", 40) == f"A table:\n{table}\n\nand more"


def test_a_narrow_terminal_leaves_room_beside_the_keys():
    assert max(map(len, wrapped(DOCSTRING, 10).splitlines())) <= 17 + 30


@pytest.mark.parametrize("kind", ["detectors", "features", "sources", "steps"])
def test_no_help_text_loses_a_word_or_is_too_wide(kind: str):
    for card in getattr(catalogue, kind)().values():
        shown = wrapped(card.description, 80)
        assert shown.split() == [word for word in card.description.split() if word != "```"]
        assert "```" in card.description or max(map(len, shown.splitlines())) <= 80, card.name
