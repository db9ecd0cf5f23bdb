"""Features that are kept: computed once per image, and never taken for those of another image or network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detector_trials import extractor
from torch import Tensor

from medood.core.detector import ImageSpec
from medood.features.interface import Extractor, keep_features

SPEC = ImageSpec(1, 32, 32)


class Counted:
    """An extractor that counts the images it computes."""

    def __init__(self, folder: Path | None, spec: ImageSpec = SPEC, **parameters: object) -> None:
        self.extractor: Extractor = extractor(spec, {"name": "grey_statistics", "size": (32, 32), "layers": (4, 8), **parameters})
        self.seen = 0
        plain = self.extractor._extract

        def count(unit: Tensor) -> list[Tensor]:
            self.seen += len(unit)
            return plain(unit)

        self.extractor._extract = count
        if folder:
            keep_features(self.extractor, folder)

    def __call__(self, images: Tensor) -> list[Tensor]:
        return self.extractor(images)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_image_is_computed_once_whoever_asks_and_in_any_order(tmp_path: Path, images: Tensor) -> None:
    expected = Counted(None)(images)
    first = Counted(tmp_path)
    assert_same(first(images[:4]), [grid[:4] for grid in expected])
    assert first.seen == 4
    second = Counted(tmp_path)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    assert_same(second(images[order]), [grid[order] for grid in expected])
    assert second.seen == 2
    assert_same(second(images), expected)
    assert second.seen == 2


def test_other_layers_of_the_same_images_share_what_they_have_in_common(tmp_path: Path, images: Tensor) -> None:
    Counted(tmp_path, layers=(4, 8, 2))(images)
    fewer = Counted(tmp_path, layers=(2, 4))
    assert_same(fewer(images), Counted(None, layers=(2, 4))(images))
    assert fewer.seen == 0


@pytest.mark.parametrize(
    "changes",
    [{"size": (16, 16)}, {"spec": ImageSpec(1, 32, 32, -1.0, 1.0)}, {"name": "gradient_histograms"}],
    ids=["size", "range", "name"],
)
def test_features_of_other_settings_are_not_taken(tmp_path: Path, images: Tensor, changes: dict[str, object]) -> None:
    Counted(tmp_path)(images)
    other = Counted(tmp_path, **changes)
    assert_same(other(images), Counted(None, **changes)(images))
    assert other.seen == 6


@pytest.mark.parametrize("damage", [lambda content: content[:-7], lambda content: b"", lambda content: b"words", lambda content: None])
def test_a_damaged_file_is_made_again(tmp_path: Path, images: Tensor, damage) -> None:
    expected = Counted(tmp_path)(images)
    path = sorted(tmp_path.rglob("*.npy"))[3]
    content = damage(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    again = Counted(tmp_path)
    assert_same(again(images), expected)
    assert again.seen == 1
    once_more = Counted(tmp_path)
    once_more(images)
    assert once_more.seen == 0


def test_an_image_that_differs_in_one_value_is_another(tmp_path: Path, images: Tensor) -> None:
    Counted(tmp_path)(images)
    images[2, 0, 5, 5] += 0.25
    other = Counted(tmp_path)
    assert_same(other(images), Counted(None)(images))
    assert other.seen == 1
