"""Classifiers in ONNX files, computed by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from medood.core.errors import MedoodError
from medood.features.onnx_weights import in_other_files, model_class

_PRODUCTS = ("Gemm", "MatMul")


class OnnxModel(nn.Module):
    """A classifier in an ONNX file: images (n, C, H, W) to logits (n, classes), and to the features (n, d) before its last linear layer, or
    the logits where there is none. It computes on the CPU and gives no gradients. A file of ONNX holds no code, and operations from
    libraries of their own are refused, as such libraries are never loaded.

    shape    (C, H, W) that it takes; None for a side that it leaves open
    batch    how many images it takes at a time; None: any number
    """

    gradients = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        try:
            import onnxruntime
        except ImportError as error:
            raise MedoodError(f"The classifier {path} is an ONNX file, which needs ONNX Runtime: pip install medood[onnx].") from error
        content, last = _with_features(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session: Any = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no class in common
            raise MedoodError(f"The classifier {path} cannot be used: ONNX Runtime does not read it ({_first_line(error)}).") from error
        images, outputs = self.session.get_inputs(), [each.name for each in self.session.get_outputs() if each.name != last]
        if len(images) != 1 or len(outputs) != 1:
            raise MedoodError(
                f"The classifier {path} cannot be used: it takes {len(images)} inputs and gives {len(outputs)} outputs, expected images "
                "and logits alone."
            )
        self.input, self.wanted = images[0].name, [outputs[0], *([last] if last else [])]
        self.kind = np.float16 if images[0].type == "tensor(float16)" else np.float32
        batch, *self.shape = [size if isinstance(size, int) else None for size in images[0].shape]
        self.batch = batch

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        given = np.ascontiguousarray(image.detach().cpu().numpy(), dtype=self.kind)
        try:
            found = self.session.run(self.wanted, {self.input: given})
        except Exception as error:
            raise RuntimeError(_first_line(error)) from error
        logits, features = (torch.from_numpy(np.asarray(each, np.float32)).to(image.device) for each in (found[0], found[-1]))
        return logits, features.flatten(1)


def _with_features(path: Path) -> tuple[bytes, str | None]:
    """The file's content with what goes into its last linear layer as one more output, and the name of that."""
    model = model_class()()
    content = path.read_bytes()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise MedoodError(f"The classifier {path} is cut short or damaged and cannot be read as an ONNX file: get it again.") from error
    if in_other_files(model):  # wherever those lie, ONNX Runtime would look for them in the working directory
        raise MedoodError(
            f"The classifier {path} keeps weights in other files, which its checksum would not cover: write it as one file "
            "(torch.onnx.export: `external_data=False`)."
        )
    products = [node for node in model.graph.node if node.op_type in _PRODUCTS]
    given = {each.name for each in (*model.graph.input, *model.graph.output, *model.graph.initializer)}
    if not products or products[-1].input[0] in given:
        return content, None
    model.graph.output.add(name=products[-1].input[0])
    return model.SerializeToString(), products[-1].input[0]


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
