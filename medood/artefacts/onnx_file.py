"""ONNX files, written by torch and read by ONNX Runtime."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from medood.artefacts.parity import Program
from medood.artefacts.program import INPUT, OUTPUTS
from medood.core.errors import MedoodError

OPSET = 20
"""Of the operations of ONNX: that of ONNX 1.15 (2023), which ONNX Runtime reads from 1.17 on."""

_TO_WRITE, _TO_READ = ("onnx", "onnxscript", "onnxruntime"), ("onnxruntime",)
_IN_FILE = 2**31 - 2**20  # bytes; more do not fit into one file of ONNX


def check_onnx(*, writing: bool) -> None:
    """Raises MedoodError with the command that installs what is missing."""
    missing = [name for name in (_TO_WRITE if writing else _TO_READ) if importlib.util.find_spec(name) is None]
    if missing:
        raise MedoodError(f"ONNX files need {', '.join(missing)}: pip install 'medood[onnx]'")


def write_onnx(path: Path, program: ExportedProgram, description: dict[str, Any]) -> None:
    """Raises MedoodError, a sentence, for a program with steps that ONNX does not have."""
    outputs = list(OUTPUTS[: len(description["outputs"])])
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*program.state_dict.values(), *program.constants.values()))
    if size > _IN_FILE:
        raise MedoodError(f"This run holds {size / 2**30:.1f} GiB of numbers, and a file of ONNX at most 2: choose --format torch.")
    logger = logging.getLogger("torch.onnx")
    level, silence = logger.level, io.StringIO()
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(silence), redirect_stderr(silence), torch.no_grad():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program, (), input_names=[INPUT], output_names=outputs, opset_version=OPSET, dynamo=True, verbose=False
            )
        assert made is not None
        model = made.model_proto
    except Exception as error:  # its exceptions have no class in common
        raise MedoodError(
            f"This run cannot be exported: ONNX lacks a form of its steps ({_cause(error)}). Choose --format torch."
        ) from error
    finally:
        logger.setLevel(level)
    _without_places(model)
    model.producer_name = "medood"
    entry = model.metadata_props.add()
    entry.key, entry.value = "medood", json.dumps(description)
    path.write_bytes(model.SerializeToString())


def open_onnx(path: Path) -> Program:
    """Raises MedoodError for what ONNX Runtime does not read."""
    check_onnx(writing=False)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
        (given,), names = session.get_inputs(), [each.name for each in session.get_outputs()]
    except Exception as error:  # its exceptions have no class in common
        raise MedoodError(f"{path} cannot be read by ONNX Runtime ({_cause(error)}).") from error

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {given.name: image}), strict=True))

    return run


def _without_places(model: Any) -> None:
    """Take away what torch notes of the files that each step was written in: paths of this machine."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for held in (*model.functions, model.graph):
        del held.metadata_props[:]
        held.doc_string = ""
    for function in model.functions:
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]


def _cause(error: BaseException) -> str:
    """The first line of what began it all."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]
