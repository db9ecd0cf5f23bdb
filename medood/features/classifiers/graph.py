"""Programs that torch.export.save has written, read as plain data and computed with operations from a closed list.

torch.export.load unpickles weights and objects and evaluates expressions that are text, any of which can run code. Here the graph is read
as JSON and the weights as numbers, nothing is unpickled, and what is not in the list is refused.
"""

from __future__ import annotations

import json
import operator
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, nn

from medood.core.errors import MedoodError

_HARMLESS = (
    "_adaptive_avg_pool2d _native_batch_norm_legit_no_training _softmax _log_softmax _to_copy _unsafe_view abs adaptive_avg_pool2d "
    "adaptive_max_pool2d add add_ addmm alias amax amin arange avg_pool2d baddbmm batch_norm bmm cat ceil celu channel_shuffle "
    "chunk clamp clamp_ clamp_max clamp_min clone constant_pad_nd contiguous conv2d convolution conv_transpose2d cos cumsum detach "
    "div div_ dropout dropout_ elu elu_ embedding eq erf exp expand expand_as feature_dropout flatten flip floor full full_like "
    "gather ge gelu glu group_norm gt hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ index_select layer_norm le "
    "leaky_relu leaky_relu_ lift_fresh_copy linalg_vector_norm linear log log_sigmoid log_softmax logsumexp lt matmul max "
    "max_pool2d max_pool2d_with_indices maximum mean min minimum mish mish_ mm movedim mul mul_ narrow native_group_norm "
    "native_layer_norm ne neg new_zeros ones ones_like pad permute pixel_shuffle pow prelu reciprocal reflection_pad2d relu relu6 "
    "relu_ repeat replication_pad2d reshape roll rsqrt rsub scaled_dot_product_attention select selu select_copy sigmoid sigmoid_ "
    "sign silu silu_ sin slice softmax softplus split split_with_sizes sqrt square squeeze stack sub sub_ sum sym_size t tan tanh "
    "tanh_ to transpose unbind unflatten unsafe_split unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_nearest2d var "
    "var_mean view view_as where zeros zeros_like "
)
"""Of aten: functions of their arguments alone. None of them reads a file, loads a library or calls what it is given."""
_OPERATIONS = frozenset(_HARMLESS.split())

_ON_NUMBERS: Mapping[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name) for name in ("add", "sub", "mul", "floordiv", "mod", "getitem")
}
_CHECKS = ("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range", "sym_constrain_range_for_size")
"""Of aten: what says nothing about values, and is left out."""

_OF_NO_MATTER = ("memory_format", "layout", "pin_memory")
_VIEWS = ("view", "default"), ("_unsafe_view", "default")
_IN_TRAINING = {
    "batch_norm": "training",
    "dropout": "train",
    "dropout_": "train",
    "feature_dropout": "train",
    "scaled_dot_product_attention": "dropout_p",
}
"""What is true, or above 0, in training only."""
_DTYPES = (None, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64)
_MORE_DTYPES = {12: torch.bool, 13: torch.bfloat16}


class Graph(nn.Module):
    """A program of one image in a file of torch.export.save; `run` computes everything in it.

    what        it is to the user, to begin a sentence with: "The classifier"
    operations  of aten that it may have besides those that classifiers have

    input       the name of the image among the values;  outputs  those of the results, with the names that the program gives them
    sizes       of the image; None for a side that is left open
    """

    def __init__(self, path: Path, what: str, operations: Iterable[str] = ()) -> None:
        super().__init__()
        self.path, self.what, self.allowed = path, what, _OPERATIONS.union(operations)
        try:
            with ZipFile(path) as archive:
                self._read(_Archive(archive, path, what))
        except (BadZipFile, OSError, EOFError, zlib.error) as error:
            raise self.damaged() from error
        except (KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise self.damaged() from error

    def run(self, image: Tensor) -> dict[str, Any]:
        """All values by their names."""
        values: dict[str, Any] = {name: getattr(self, place) for name, place in self.held.items()}
        values |= self.constants
        values[self.input] = image.clone()  # the program may change it
        for node in self.nodes:
            self._step(node, values)
        return values

    def _read(self, archive: _Archive) -> None:
        module = archive.graph()
        graph, signature = module["graph"], module["signature"]
        tensors = {**archive.tensors("weights"), **archive.tensors("constants")}
        self.nodes = [node for node in graph["nodes"] if not _is_check(node)]
        self.held: dict[str, str] = {}
        self.constants: dict[str, Any] = {}
        images = []
        for spec in signature["input_specs"]:
            ((kind, content),) = spec.items()
            if kind == "user_input":
                images.append(content["arg"]["as_tensor"]["name"])
            elif kind in ("parameter", "buffer", "tensor_constant"):
                named = content.get("parameter_name") or content.get("buffer_name") or content["tensor_constant_name"]
                self.held[content["arg"]["name"]] = place = f"tensor_{len(self.held)}"
                self.register_buffer(place, tensors[named], persistent=False)
            elif kind == "constant_input":
                self.constants[content["name"]] = next(iter(content["value"].values()))
            else:
                raise self.refused(f"it holds an object ({kind}), and objects are not read")
        outputs = [spec["user_output"]["arg"] for spec in signature["output_specs"] if "user_output" in spec]
        self._take(graph, images, outputs)
        for node in self.nodes:
            self._check(node)

    def _take(self, graph: Mapping[str, Any], images: list[str], outputs: list[Mapping[str, Any]]) -> None:
        if len(images) != 1 or not outputs or any("as_tensor" not in output for output in outputs):
            raise self.refused(f"it takes {len(images)} inputs and gives {len(outputs)} outputs, expected one image and tensors")
        self.input, self.outputs = images[0], [output["as_tensor"]["name"] for output in outputs]
        self.sizes = [size.get("as_int") for size in graph["tensor_values"][self.input]["sizes"]]

    def _check(self, node: Mapping[str, Any]) -> None:
        target, name = node["target"], name_of(node)
        if target not in _ON_NUMBERS and name not in self.allowed:
            raise self.refused(f"the operation {target} is none of those that are known to be harmless")
        if name:
            _call(node)
        flag = next((_value(each["arg"], {}, None) for each in node["inputs"] if each["name"] == _IN_TRAINING.get(name, "")), False)
        if flag:
            raise self.refused(
                "it was exported in training mode, in which its answers are random or depend on the other images: "
                "call model.eval() before torch.export.export"
            )

    def _step(self, node: Mapping[str, Any], values: dict[str, Any]) -> None:
        device = values[self.input].device
        given = [(each, _value(each["arg"], values, device)) for each in node["inputs"]]
        if node["target"] in _ON_NUMBERS:
            found = _ON_NUMBERS[node["target"]](*(value for _, value in given))
        else:
            _, _, _, name, overload = node["target"].split(".")
            name = "reshape" if (name, overload) in _VIEWS else name  # for `clone` is called without its layout, see _OF_NO_MATTER
            call = getattr(getattr(torch.ops.aten, name), overload)
            known = [(each, value) for each, value in given if each["name"] not in ("memory_format", "layout", "pin_memory")]
            found = call(
                *(v for each, v in known if each.get("kind") != 2), **{each["name"]: v for each, v in known if each.get("kind") == 2}
            )
        names = [name for output in node["outputs"] for name in _names(output)]
        for name, value in zip(names, found if len(names) > 1 or _is_list(node) else [found], strict=False):
            values[name] = value

    def refused(self, why: str) -> MedoodError:
        return MedoodError(f"{self.what} {self.path} cannot be used: {why}.")

    def damaged(self) -> MedoodError:
        return MedoodError(
            f"{self.what} {self.path} is cut short, damaged, or no file of torch.export.save of PyTorch 2.9 or later: write it again "
            "with `torch.export.save(torch.export.export(model.eval(), (images,)), FILE)`, or as an ONNX file."
        )


class _Archive:
    """The parts of a file that are read: the graph, and numbers."""

    def __init__(self, archive: ZipFile, path: Path, what: str) -> None:
        self.archive, self.path, self.what = archive, path, what
        (graph,) = (name for name in archive.namelist() if name.endswith("models/model.json"))
        self.root = graph.removesuffix("models/model.json")

    def graph(self) -> dict[str, Any]:
        return json.loads(self.archive.read(f"{self.root}models/model.json"))["graph_module"]

    def tensors(self, kind: str) -> dict[str, Tensor]:
        """Weights or constants by name. Raises MedoodError for those that are pickled."""
        folder = f"{self.root}data/{kind}/"
        found = {}
        for name, entry in json.loads(self.archive.read(f"{folder}model_{kind}_config.json"))["config"].items():
            if entry["use_pickle"]:
                raise MedoodError(f"{self.what} {self.path} cannot be used: it holds {name} as a pickle, which can run code.")
            found[name] = _tensor(entry["tensor_meta"], self.archive.read(folder + Path(entry["path_name"]).name))
        return found


def _tensor(meta: Mapping[str, Any], content: bytes) -> Tensor:
    sizes, strides = ([int(each["as_int"]) for each in meta[key]] for key in ("sizes", "strides"))
    flat = torch.frombuffer(bytearray(content), dtype=_dtype(meta["dtype"]))
    return flat.as_strided(sizes, strides, int(meta["storage_offset"]["as_int"])).clone()


def _dtype(number: int) -> torch.dtype:
    found = _MORE_DTYPES.get(number) or _DTYPES[number]
    if found is None:
        raise ValueError(number)
    return found


def name_of(node: Mapping[str, Any]) -> str:
    """The name of an operation of aten, or nothing."""
    parts = node["target"].split(".")
    return parts[3] if len(parts) == 5 and parts[:3] == ["torch", "ops", "aten"] else ""


def _call(node: Mapping[str, Any]) -> Callable[..., Any]:
    """The operation itself. Raises ValueError for an overload that is none."""
    operation, overload = getattr(torch.ops.aten, name_of(node)), node["target"].split(".")[4]
    if overload not in operation.overloads():
        raise ValueError(node["target"])
    return getattr(operation, overload)


def _is_check(node: Mapping[str, Any]) -> bool:
    return name_of(node) in _CHECKS


def _names(output: Mapping[str, Any]) -> list[str]:
    ((kind, content),) = output.items()
    if kind == "as_tensors":
        return [each["name"] for each in content]
    return [content["as_name"] if "as_name" in content else content["name"]] if isinstance(content, Mapping) else []


def _is_list(node: Mapping[str, Any]) -> bool:
    return any("as_tensors" in output for output in node["outputs"])


def _value(argument: Mapping[str, Any], values: Mapping[str, Any], device: torch.device | None) -> Any:
    """What an argument stands for; a tensor or a size by its name, for the rest itself. Raises ValueError for a kind that is not known."""
    ((kind, content),) = argument.items()
    if kind in ("as_tensor", "as_tensors") or kind in ("as_optional_tensor", "as_optional_tensors"):
        each = [_named(one, values) for one in (content if isinstance(content, list) else [content])]
        return each if isinstance(content, list) else each[0]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _number(content, values)
    if kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_number(each, values) for each in content]
    if kind == "as_scalar_type":
        return _dtype(content)
    if kind == "as_device":
        return device
    if kind in ("as_memory_format", "as_layout", "as_none"):
        return None
    if kind in ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string"):
        return float(content) if kind == "as_float" else content  # infinity is written as text
    raise ValueError(kind)


def _named(tensor: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    if "as_none" in tensor:
        return None
    name = tensor.get("as_tensor", tensor)["name"]
    return values[name]


def _number(content: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    return values[content["as_name"]] if "as_name" in content else next(iter(content.values()))
