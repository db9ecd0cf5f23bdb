"""The weights in an ONNX file, without the network that it also holds, and where that network's parts are joined."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from torch import Tensor

from medood.core.errors import MedoodError

_FIELD = descriptor_pb2.FieldDescriptorProto
_MESSAGES = {  # the part of onnx.proto that weights and their places need: name, number and type of each field; * for a repeated one
    "Tensor": (
        ("dims*", 1, "int64"),
        ("data_type", 2, "int32"),
        ("float_data*", 4, "float"),
        ("name", 8, "string"),
        ("raw_data", 9, "bytes"),
        ("external_data*", 13, "bytes"),
        ("data_location", 14, "int32"),
    ),
    "Sparse": (("values", 1, "Tensor"), ("indices", 2, "Tensor")),
    "Attribute": (
        *(("t", 5, "Tensor"), ("g", 6, "Graph"), ("tensors*", 10, "Tensor"), ("graphs*", 11, "Graph")),
        *(("sparse_tensor", 22, "Sparse"), ("sparse_tensors*", 23, "Sparse")),
    ),
    "Node": (("input*", 1, "string"), ("name", 3, "string"), ("op_type", 4, "string"), ("attribute*", 5, "Attribute")),
    "Value": (("name", 1, "string"),),
    "Graph": (
        *(("node*", 1, "Node"), ("initializer*", 5, "Tensor"), ("input*", 11, "Value"), ("output*", 12, "Value")),
        ("sparse_initializer*", 15, "Sparse"),
    ),
    "Function": (("node*", 7, "Node"),),
    "Model": (("graph", 7, "Graph"), ("functions*", 25, "Function")),
}
_FLOAT32 = 1


def read_onnx(path: Path) -> dict[str, Tensor]:
    """float32 tensors by name. Raises MedoodError when the file is damaged.

    Exporters lose the names of matrices that they transpose; such a one is called after the node that multiplies with it, with `/` as `.`
    and `weight` at the end, and has the layout of torch's linear layers again.
    """
    model = model_class()()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise MedoodError(f"features: {path} is cut short or damaged and cannot be read as an ONNX file: get it again.") from error
    tensors = {tensor.name: _tensor(tensor, path) for tensor in model.graph.initializer if tensor.data_type == _FLOAT32}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors and node.input[1].startswith("onnx::"):
            tensors[node.name.strip("/").removesuffix("MatMul").replace("/", ".") + "weight"] = tensors[node.input[1]].T
    return tensors


def _tensor(tensor: Any, path: Path) -> Tensor:
    values = torch.frombuffer(bytearray(tensor.raw_data), dtype=torch.float32) if tensor.raw_data else torch.tensor(list(tensor.float_data))
    shape = tuple(tensor.dims)
    if values.numel() != torch.Size(shape).numel():
        raise MedoodError(f"features: {path} keeps its weights in other files or is damaged: {tensor.name} lacks values.")
    return values.reshape(shape)


def in_other_files(message: Any) -> bool:
    """Whether a model, or any part of it, keeps numbers in other files."""
    if message.DESCRIPTOR.name == "Tensor":
        return bool(message.external_data or message.data_location)
    found = (value for field, value in message.ListFields() if field.type == field.TYPE_MESSAGE)
    return any(in_other_files(each) for value in found for each in (value if isinstance(value, Sequence) else (value,)))


@cache
def model_class() -> Any:
    """The class of messages that are models. What is not described above is kept as it is when a model is written again."""
    file = descriptor_pb2.FileDescriptorProto(name="medood/onnx.proto", package="medood.onnx", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label = _FIELD.LABEL_REPEATED if field.endswith("*") else _FIELD.LABEL_OPTIONAL
            made = message.field.add(name=field.rstrip("*"), number=number, label=label)
            if kind in _MESSAGES:
                made.type, made.type_name = _FIELD.TYPE_MESSAGE, f".medood.onnx.{kind}"
            else:
                made.type = getattr(_FIELD, f"TYPE_{kind.upper()}")
            made.options.packed = label == _FIELD.LABEL_REPEATED and kind in ("int64", "float")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("medood.onnx.Model"))
