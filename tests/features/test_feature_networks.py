"""Frozen networks: the numbers they were published with, or sane ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from detector_trials import extractor
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, interpolate

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.features.efficientnet_lite0 import EfficientNetLite0
from medood.features.weights import find_weights, read_weights
from medood.recipe.catalogue import features

NETWORKS = ("efficientnet_lite0", "resnet18", "resnet50", "dinov2_vits14")
PHOTOGRAPHS = {  # of scikit-image, with their classes in ImageNet
    "chelsea": {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"},
    "coffee": {967: "espresso"},
    "rocket": {657: "missile"},
}


def random_network(name: str, spec: ImageSpec, **parameters: object):
    return extractor(spec, {"name": name, "weights": "random", **parameters})


def photograph(name: str) -> Tensor:
    """(1, 3, 224, 224) in 0..1, the middle square."""
    picture = torch.from_numpy(np.ascontiguousarray(getattr(skimage.data, name)())).permute(2, 0, 1)[None].float() / 255
    side = min(picture.shape[2:])
    top, left = ((length - side) // 2 for length in picture.shape[2:])
    return interpolate(picture[:, :, top : top + side, left : left + side], (224, 224), mode="bilinear", antialias=True)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_get_their_classes(name: str) -> None:
    try:
        network = EfficientNetLite0(ImageSpec(3, 224, 224), layers=(4,))
    except MedoodError as error:
        pytest.skip(f"the weights are not installed: {error}")
    weights = read_weights(find_weights("imagenet", network.words))
    try:
        (last,) = network(photograph(name))
    except (OSError, RuntimeError) as error:
        pytest.skip(f"scikit-image cannot give the photograph: {error}")
    norm = (weights[f"_bn1.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    head = batch_norm(conv2d(last, weights["_conv_head.weight"]), *norm, eps=1e-3).clamp(0, 6).mean((2, 3))
    logits = head @ weights["_fc.weight"].T + weights["_fc.bias"]
    assert int(logits.argmax()) in PHOTOGRAPHS[name]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "resnet50"])  # which has the parts of resnet18
def test_random_weights_are_sane_and_follow_from_the_seed(name: str) -> None:
    spec = ImageSpec(1, 56, 56)
    everything = features()[name].parameters.model_fields["layers"].default
    torch.manual_seed(5)
    network = random_network(name, spec, size=(56, 56))
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))  # nobody else's random numbers are touched
    smooth = interpolate(torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(1)), (56, 56), mode="bicubic").clamp(0, 1)
    grids = network(smooth)
    assert [grid.shape[1:] for grid in grids] == [torch.Size(shape) for shape in network.shapes]
    assert len(grids) == len(everything)
    for grid in grids:
        assert 0.1 < grid.std() < 10
    assert all(torch.equal(a, b) for a, b in zip(grids, random_network(name, spec, size=(56, 56))(smooth), strict=True))
    other = random_network(name, spec, size=(56, 56), seed=1)
    assert not torch.allclose(other(smooth)[0], grids[0], atol=0.1)
    assert other.fingerprint != network.fingerprint


def test_the_range_and_the_channels_of_the_images_do_not_matter() -> None:
    unit = torch.rand(2, 1, 40, 40)
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (-1000.0, 3000.0)):
        grey = random_network("efficientnet_lite0", ImageSpec(1, 40, 40, low, high), size=(40, 40))
        colour = random_network("efficientnet_lite0", ImageSpec(3, 40, 40, low, high), size=(40, 40))
        images = low + (high - low) * unit
        for found, same in zip(grey(images), colour(images.expand(-1, 3, -1, -1)), strict=True):
            torch.testing.assert_close(found, same, atol=0.02, rtol=0.01)
        if low == 0:
            expected = grey(images)
        for found, same in zip(grey(images), expected, strict=True):
            torch.testing.assert_close(found, same, atol=0.02, rtol=0.01)


def test_layers_are_those_named_in_the_order_named() -> None:
    image = torch.rand(1, 1, 64, 64)
    both = random_network("resnet18", ImageSpec(1, 64, 64), layers=(3, 1), size=(64, 64))
    one = random_network("resnet18", ImageSpec(1, 64, 64), layers=(1,), size=(64, 64))
    assert [grid.shape for grid in both(image)] == [(1, 256, 4, 4), (1, 64, 16, 16)]
    assert torch.equal(both(image)[1], one(image)[0])
    assert both.fingerprint == one.fingerprint  # so that they share what is kept


@pytest.mark.parametrize(("size", "expected"), [(None, (224, 280)), ((28, 42), (28, 42))])
def test_images_are_resized_in_proportion_or_as_asked(size, expected) -> None:
    network = random_network("dinov2_vits14", ImageSpec(1, 80, 100), size=size, layers=(1,))
    assert network.size == expected
    assert network.shapes == ((384, expected[0] // 14, expected[1] // 14),)


def test_a_size_that_does_not_fit_is_refused_with_one_that_does() -> None:
    with pytest.raises(MedoodError, match=r"multiples of 14, such as \[224, 126\]"):
        random_network("dinov2_vits14", ImageSpec(1, 80, 100), size=(220, 130))


@pytest.mark.parametrize("layers", [(), (2, 2)])
def test_layers_must_be_named_once(layers) -> None:
    with pytest.raises(MedoodError, match="at least one layer and none twice"):
        random_network("resnet18", ImageSpec(1, 64, 64), layers=layers)


SIDES = {"columns": (1, 1)}
"""Sizes of what is no image."""


@pytest.mark.parametrize("name", sorted(features()))
def test_an_extractor_never_trains_and_keeps_its_weights_to_itself(name: str) -> None:
    parameters = {"weights": "random", "size": (56, 56)} if name in NETWORKS else {}
    spec = ImageSpec(1, *SIDES.get(name, (56, 56)))
    network = extractor(spec, {"name": name, **parameters})
    assert not list(network.parameters())
    assert not network.state_dict()
    network.train()
    assert not any(module.training for module in network.modules())
    grids = network(torch.rand(2, *spec.shape).requires_grad_())
    assert not any(grid.requires_grad for grid in grids)
    assert all(grid.dtype == torch.float32 for grid in grids)
    assert tuple(tuple(grid.shape[1:]) for grid in grids) == network.shapes


@pytest.mark.parametrize("name", sorted(features()))
def test_each_image_has_its_features_whatever_stands_beside_it(name: str) -> None:
    parameters = {"weights": "random", "size": (56, 56)} if name in NETWORKS else {}
    spec = ImageSpec(3, *SIDES.get(name, (60, 50)))
    network = extractor(spec, {"name": name, **parameters})
    images = torch.rand(3, *spec.shape, generator=torch.Generator().manual_seed(0))
    together = network(images)
    for number in range(3):
        for all_of_them, alone in zip(together, network(images[number : number + 1]), strict=True):
            assert torch.equal(all_of_them[number], alone[0])


def reshaped(change: Callable[[str], str], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {change(name): value for name, value in tensors.items()}


def torchvision_names(network: str) -> dict[str, Tensor]:
    """Random weights under the names of torchvision."""
    made = random_network(network, ImageSpec(1, 64, 64), seed=7).network
    return {name: value.clone() for name, value in made.named_buffers() if not name.endswith("num_batches_tracked")}


RADIMAGENET = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def radimagenet(name: str) -> str:
    part, _, rest = name.partition(".")
    return f"backbone.{RADIMAGENET[part]}.{rest}"


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda tensors: tensors,
        lambda tensors: {"epoch": 200, "arch": "resnet18", "state_dict": reshaped(lambda name: f"module.encoder_q.{name}", tensors)},
        lambda tensors: reshaped(radimagenet, tensors),
        lambda tensors: {"model": tensors | {"fc.weight": torch.zeros(1000, 512)}},
    ],
    ids=["torchvision", "moco", "radimagenet", "with a head"],
)
def test_files_of_others_are_read(wrapped, tmp_path: Path) -> None:
    tensors = torchvision_names("resnet18")
    torch.save(wrapped(tensors), tmp_path / "weights.pth")
    image = torch.rand(1, 1, 64, 64)
    read = extractor(ImageSpec(1, 64, 64), {"name": "resnet18", "weights": str(tmp_path / "weights.pth")})
    expected = random_network("resnet18", ImageSpec(1, 64, 64), seed=7)
    assert all(torch.equal(a, b) for a, b in zip(read(image), expected(image), strict=True))
    assert read.sha256 is not None
    assert read.fingerprint != expected.fingerprint


def test_of_two_encoders_in_one_file_the_query_encoder_is_read(tmp_path: Path) -> None:
    tensors = torchvision_names("resnet18")
    both = reshaped(lambda name: f"module.encoder_q.{name}", tensors) | {
        f"module.encoder_k.{name}": torch.zeros_like(value) for name, value in tensors.items()
    }
    torch.save({"state_dict": both}, tmp_path / "moco.pth")
    image = torch.rand(1, 1, 64, 64)
    read = extractor(ImageSpec(1, 64, 64), {"name": "resnet18", "weights": str(tmp_path / "moco.pth")})
    assert torch.equal(read(image)[0], random_network("resnet18", ImageSpec(1, 64, 64), seed=7)(image)[0])


def test_the_names_of_the_library_transformers_are_read(tmp_path: Path) -> None:
    network = random_network("dinov2_vits14", ImageSpec(1, 56, 56), size=(56, 56), seed=7)
    network.network.blocks[3].ls1["gamma"].fill_(0.3)
    theirs: dict[str, Tensor] = {}
    for name, value in network.network.named_buffers():
        for ours, other in (
            ("cls_token", "embeddings.cls_token"),
            ("pos_embed", "embeddings.position_embeddings"),
            ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
            ("blocks.", "encoder.layer."),
            ("attn.proj", "attention.output.dense"),
            ("ls1.gamma", "layer_scale1.lambda1"),
            ("ls2.gamma", "layer_scale2.lambda1"),
        ):
            name = name.replace(ours, other)
        parts = value.chunk(3) if "attn.qkv" in name else []
        theirs |= {name.replace("attn.qkv", f"attention.attention.{key}"): part for key, part in zip(("query", "key", "value"), parts)}  # noqa: B905
        theirs |= {} if parts else {name: value}
    torch.save(theirs, tmp_path / "weights.bin")
    image = torch.rand(1, 1, 56, 56)
    read = extractor(ImageSpec(1, 56, 56), {"name": "dinov2_vits14", "weights": str(tmp_path / "weights.bin"), "size": (56, 56)})
    assert all(torch.equal(a, b) for a, b in zip(read(image), network(image), strict=True))
