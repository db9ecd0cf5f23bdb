"""Classifiers from files: computed as torch and ONNX Runtime's own reference have them, and never a line of theirs run."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.features.classifiers.classifier import open_classifier

SPEC = ImageSpec(1, 16, 16, 0.0, 1.0)


class Attentive(nn.Module):
    """Patches, attention and a class token, as vision transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(1, 8, 4, 4), nn.LayerNorm(8)
        self.token, self.mixed, self.last = nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 24), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        rows = self.patches(image).flatten(2).transpose(1, 2)
        rows = torch.cat([self.token.expand(rows.shape[0], -1, -1), rows], 1)
        query, key, value = self.mixed(self.norm(rows)).chunk(3, -1)
        rows = rows + scaled_dot_product_attention(query, key, value)
        return self.last(self.norm(rows)[:, 0])


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.last = nn.Conv2d(6, 6, 3, padding=1, groups=3), nn.Linear(6, 3)
        self.norm.running_mean.uniform_(-0.2, 0.2)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, image: Tensor) -> Tensor:
        inner = nn.functional.relu(self.norm(self.first(image)), inplace=True)
        inner = inner + nn.functional.hardswish(self.second(inner))
        inner = nn.functional.dropout(nn.functional.max_pool2d(inner, 2), 0.5, self.training)
        return self.last(inner.mean((2, 3)))


class Forgetful(nn.Module):
    """Attention that leaves some of it out while it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(256, 3)

    def forward(self, image: Tensor) -> Tensor:
        rows = image.flatten(2)
        return self.last(scaled_dot_product_attention(rows, rows, rows, dropout_p=0.5 if self.training else 0.0).flatten(1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {"residual": Residual, "attentive": Attentive}


def saved(network: nn.Module, path: Path, *, batch: int | None = None, shape: tuple[int, int, int] = (1, 16, 16)) -> Path:
    """The network in a file of torch.export.save, for any number of images or for so many."""
    dynamic = None if batch else ({0: torch.export.Dim("batch", min=1, max=64)},)
    torch.export.save(torch.export.export(network, (torch.zeros(batch or 2, *shape),), dynamic_shapes=dynamic), path)
    return path


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_program_answers_as_its_network_does_and_lets_gradients_through(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    read = open_classifier(str(saved(network, tmp_path / "it.pt2")), SPEC, mean=(0.5,), std=(0.25,))
    images = torch.rand((5, 1, 16, 16)).requires_grad_()
    logits, features = read(images)
    expected = network((images - 0.5) / 0.25)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.allclose(features @ network.last.weight.T + network.last.bias, expected, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), images)
    (wanted,) = torch.autograd.grad(expected[:, 0].sum(), images)
    assert torch.allclose(gradient, wanted, atol=1e-5)
    assert (read.classes, read.width) == (network.last.out_features, network.last.in_features)
    assert not list(read.parameters())
    assert not read.state_dict()


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_program_for_so_many_images_at_a_time_takes_any_number(batch: int, tmp_path: Path) -> None:
    network = Residual().eval()
    read = open_classifier(str(saved(network, tmp_path / "it.pt2", batch=batch)), SPEC)
    images = torch.rand((5, 1, 16, 16))
    with torch.no_grad():
        assert torch.allclose(read(images)[0], network(images), atol=1e-5)


def test_a_program_of_a_training_network_is_refused(tmp_path: Path) -> None:
    for network in (Residual(), Forgetful()):
        path = saved(network.train(), tmp_path / "it.pt2")
        with pytest.raises(MedoodError, match=r"in training mode.*model\.eval\(\)"):
            open_classifier(str(path), SPEC)
    assert open_classifier(str(saved(Forgetful().eval(), path)), SPEC).classes == 3


def changed(
    path: Path, change: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None, packed: int = zipfile.ZIP_STORED
) -> Path:
    """The archive with every member as `change` makes it."""
    out = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", packed) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, content in (more or {}).items():
            new.writestr(name, content)
    return out


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def with_model(change: Callable[[dict[str, Any]], None], ending: str = "model.json") -> Callable[[str, bytes], bytes]:
    def made(name: str, content: bytes) -> bytes:
        if not name.endswith(ending):
            return content
        model = json.loads(content)
        change(model)
        return json.dumps(model).encode()

    return made


def test_nothing_in_a_program_is_unpickled_or_evaluated(tmp_path: Path) -> None:
    path, sprung = saved(Residual().eval(), tmp_path / "it.pt2"), tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))

    def everywhere(name: str, content: bytes) -> bytes:
        if "sample_inputs" in name:
            return trap
        text = content.decode() if name.endswith("model.json") else ""
        code = f"__import__('pathlib').Path('{sprung}').touch()"
        return text.replace('"expr_str": "', f'"expr_str": "{code} or ').encode() if text else content

    for made in (changed(path, everywhere), changed(path, lambda name, content: content, {"it/data/aotinductor/model/it.so": b"code"})):
        images = torch.rand((3, 1, 16, 16))
        assert open_classifier(str(made), SPEC)(images)[0].shape == (3, 3)
        assert not sprung.exists()


def test_what_could_run_code_is_refused(tmp_path: Path) -> None:
    path, sprung = saved(Residual().eval(), tmp_path / "it.pt2"), tmp_path / "sprung"

    def pickled(model: dict[str, Any]) -> None:
        next(iter(model["config"].values()))["use_pickle"] = True

    def calls(target: str) -> Callable[[dict[str, Any]], None]:
        def change(model: dict[str, Any]) -> None:
            model["graph_module"]["graph"]["nodes"][0]["target"] = target

        return change

    def holds_an_object(model: dict[str, Any]) -> None:
        spec = {"custom_obj": {"arg": {"name": "it", "class_fqn": "it"}, "custom_obj_name": "it"}}
        model["graph_module"]["signature"]["input_specs"].insert(0, spec)

    trap = pickle.dumps(Trap(sprung))
    config = with_model(pickled, "weights_config.json")
    cases = {
        "as a pickle": lambda name, content: trap if name.endswith("weight_0") else config(name, content),
        "objects are not read": with_model(holds_an_object),
        **{
            f"the operation {target}": with_model(calls(target))
            for target in ("torch.ops.aten.from_file.default", "torch.ops.mine.run.default", "os.system", "torch.ops.aten.save.to_file")
        },
    }
    for words, change in cases.items():
        with pytest.raises(MedoodError, match=words):
            open_classifier(str(changed(path, change)), SPEC)
    for target in ("torch.ops.aten.relu.__init__", "torch.ops.aten.relu.__class__"):
        with pytest.raises(MedoodError, match="damaged"):
            open_classifier(str(changed(path, with_model(calls(target)))), SPEC)
    assert not sprung.exists()


def test_damaged_programs_and_other_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = saved(Residual().eval(), tmp_path / "it.pt2")
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"PK" + content[7:], pickle.dumps({})):
        path.write_bytes(damaged)
        with pytest.raises(MedoodError, match=r"cut short, damaged, or no file of torch\.export\.save"):
            open_classifier(str(path), SPEC)
    path.write_bytes(content)
    packed = changed(path, lambda name, content: content, packed=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(packed) as archive:
        (graph,) = (each for each in archive.infolist() if each.filename.endswith("models/model.json"))
    place = graph.header_offset + 30 + len(graph.filename)
    squeezed = packed.read_bytes()
    packed.write_bytes(squeezed[: place + 5] + b"\xff" * 40 + squeezed[place + 45 :])
    with pytest.raises(MedoodError, match="cut short, damaged"):
        open_classifier(str(packed), SPEC)
    other = tmp_path / "it.pth"
    torch.save(Residual(), other)
    with pytest.raises(MedoodError, match="without running code"):
        open_classifier(str(other), SPEC)
    with pytest.raises(MedoodError, match="There is no classifier"):
        open_classifier(str(tmp_path / "nothing.onnx"), SPEC)


def test_shapes_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    path = str(saved(Residual().eval(), tmp_path / "it.pt2"))
    with pytest.raises(MedoodError, match=r"\(1, 16, 16\), but the transforms make \(3, 16, 16\): set `channels` and `size`"):
        open_classifier(path, ImageSpec(3, 16, 16))
    with pytest.raises(MedoodError, match=r"transforms make \(1, 32, 16\)"):
        open_classifier(path, ImageSpec(1, 32, 16))
    with pytest.raises(MedoodError, match="expected one, or one for each of 1"):
        open_classifier(path, SPEC, mean=(0.1, 0.2))
    single = nn.Sequential(nn.Flatten(), nn.Linear(256, 1)).eval()
    with pytest.raises(MedoodError, match=r"answers 2 images with \(2, 1\), expected \(2, classes\) with two classes or more"):
        open_classifier(str(saved(single, tmp_path / "single.pt2")), SPEC)
    maps = nn.Conv2d(1, 3, 3).eval()
    with pytest.raises(MedoodError, match=r"answers 2 images with \(2, 3, 14, 14\)"):
        open_classifier(str(saved(maps, tmp_path / "maps.pt2")), SPEC)


def test_another_file_than_the_one_that_was_meant_is_noticed(tmp_path: Path) -> None:
    path = saved(Residual().eval(), tmp_path / "it.pt2")
    sha256 = open_classifier(str(path), SPEC).sha256
    assert open_classifier(str(path), SPEC, sha256=sha256).sha256 == sha256
    with pytest.raises(MedoodError, match="not the file that was meant"):
        open_classifier(str(saved(Residual().eval(), path)), SPEC, sha256=sha256)


def onnx_file(
    path: Path,
    weight: np.ndarray,
    bias: np.ndarray,
    *,
    hidden: np.ndarray,
    operation: str = "Relu",
    batch: int = 0,
    elsewhere: str | None = None,
) -> Path:
    """relu(flat image x hidden) x weight + bias as an ONNX file, written field by field (onnx.proto); the weight in a file `elsewhere`."""

    def field(number: int, content: bytes) -> bytes:
        return _varint(number << 3 | 2) + _varint(len(content)) + content

    def tensor(name: str, values: np.ndarray) -> bytes:
        dims = b"".join(_varint(1 << 3) + _varint(size) for size in values.shape)
        described = dims + _varint(2 << 3) + _varint(1) + field(8, name.encode())
        if elsewhere and name == "weight":
            return described + field(13, field(1, b"location") + field(2, elsewhere.encode())) + _varint(14 << 3) + _varint(1)
        return described + field(9, values.astype("<f4").tobytes())

    def node(kind: str, inputs: list[str], output: str) -> bytes:
        return b"".join(field(1, each.encode()) for each in inputs) + field(2, output.encode()) + field(4, kind.encode())

    def value(name: str, sizes: list[int]) -> bytes:
        dims = b"".join(field(1, _varint(1 << 3) + _varint(size) if size else field(2, b"n")) for size in sizes)
        kind = field(1, _varint(1 << 3) + _varint(1) + field(2, dims))
        return field(1, name.encode()) + field(2, kind)

    nodes = [
        node("Flatten", ["image"], "flat"),
        node("MatMul", ["flat", "hidden"], "mixed"),
        node(operation, ["mixed"], "features"),
        node("Gemm", ["features", "weight", "bias"], "logits"),
    ]
    graph = b"".join(field(1, each) for each in nodes) + field(2, b"it")
    graph += b"".join(field(5, tensor(name, values)) for name, values in (("hidden", hidden), ("weight", weight), ("bias", bias)))
    graph += field(11, value("image", [batch, 1, 16, 16])) + field(12, value("logits", [batch, weight.shape[1]]))
    path.write_bytes(_varint(1 << 3) + _varint(8) + field(7, graph) + field(8, _varint(2 << 3) + _varint(13)))
    return path


def _varint(number: int) -> bytes:
    parts = b""
    while number > 127:
        parts += struct.pack("B", number & 127 | 128)
        number >>= 7
    return parts + struct.pack("B", number)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_an_onnx_file_answers_as_its_arithmetic_says(batch: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    random = np.random.default_rng(0)
    hidden, weight, bias = random.normal(size=(256, 5)), random.normal(size=(5, 3)), random.normal(size=3)
    path = onnx_file(tmp_path / "it.onnx", weight, bias, hidden=hidden, batch=batch)
    read = open_classifier(str(path), SPEC, mean=(0.5,), std=(2.0,))
    images = random.random((4, 1, 16, 16)).astype(np.float32)
    logits, features = read(torch.from_numpy(images))
    expected = np.maximum((images.reshape(4, -1) - 0.5) / 2 @ hidden, 0)
    assert features.numpy() == pytest.approx(expected, abs=1e-4)
    assert logits.numpy() == pytest.approx(expected @ weight + bias, abs=1e-4)
    assert not read.gradients


def test_onnx_files_that_cannot_be_used_are_refused_in_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    hidden, weight, bias = np.ones((256, 5)), np.ones((5, 3)), np.ones(3)
    path = onnx_file(tmp_path / "it.onnx", weight, bias, hidden=hidden)
    with pytest.raises(MedoodError, match=r"\(1, 16, 16\), but the transforms make \(1, 32, 32\)"):
        open_classifier(str(path), ImageSpec(1, 32, 32))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(MedoodError, match="cut short or damaged"):
        open_classifier(str(path), SPEC)
    unknown = onnx_file(tmp_path / "unknown.onnx", weight, bias, hidden=hidden, operation="RunThis")
    with pytest.raises(MedoodError, match="ONNX Runtime does not read it"):
        open_classifier(str(unknown), SPEC)


def test_weights_in_a_file_beside_the_onnx_file_are_refused_as_its_checksum_does_not_cover_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    hidden, weight, bias = np.ones((256, 5)), np.ones((5, 3)), np.ones(3)
    path = onnx_file(tmp_path / "it.onnx", weight, bias, hidden=hidden, elsewhere="weight.bin")
    (tmp_path / "weight.bin").write_bytes(weight.astype("<f4").tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MedoodError, match=r"keeps weights in other files.*write it as one file"):
        open_classifier(str(path), SPEC)
