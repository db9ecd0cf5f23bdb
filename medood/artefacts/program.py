"""A run as one program of tensor operations: pixel values in; score, p-value, decision and map out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram, export
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from medood.artefacts.folding import fold
from medood.artefacts.operations import simpler
from medood.artefacts.pooling import OnePool
from medood.core.detector import Detector
from medood.core.errors import MedoodError
from medood.core.shield import kind_of
from medood.core.tracing import written_down
from medood.metrics.calibration import Calibration

INPUT = "pixels"
_PLACES = "stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"  # in files of this machine, of no use elsewhere
SLACK = 1e-5
"""Share of the spread of held-out scores within which a score counts as equal to one of them: other machines round in other ways."""

OUTPUTS = "score", "p_value", "abnormal", "map"


def spread(calibration: Calibration) -> float:
    """From the lowest to the highest score of the held-out normal images; 1 where all are the same."""
    return float(calibration.scores[-1] - calibration.scores[0]) or 1.0


@dataclass(eq=False)
class Parts:
    """What a program is made of.

    before  from pixel values to the images of the detector;  after  from its maps onto the pixels: both nothing where the input is prepared
    pool    None where maps and scores stay as the detector made them
    """

    before: nn.Module
    detector: Detector
    background: float | None
    pool: OnePool | None
    calibration: Calibration
    after: nn.Module


class Whole(nn.Module):
    """(1, C, rows, columns) float32 to the score, float64 (1,), its p-value, whether it is abnormal, and the map, if there is one."""

    held_out: Tensor

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.before, self.detector, self.pool, self.after = parts.before, parts.detector, parts.pool, parts.after
        slack = SLACK * spread(parts.calibration)
        self.background, self.threshold = parts.background, parts.calibration.threshold + slack
        self.register_buffer("held_out", torch.from_numpy(parts.calibration.scores + slack))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        image = self.before(pixels)
        scores = self.detector._score(image)
        score, heat, shown = scores.image.double(), scores.map, None
        if self.pool is not None and heat is not None:
            score, heat, shown = self._pooled(self.pool, image, score, heat)
        reached = (self.held_out >= score[:, None]).sum(1)
        p_value = (1 + reached).double() / (len(self.held_out) + 1)
        made = score, p_value, score > self.threshold
        return made if heat is None else (*made, self.after(heat, shown))

    def _pooled(self, pool: OnePool, image: Tensor, score: Tensor, heat: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        body = torch.ones_like(heat, dtype=torch.bool) if self.background is None else (image != self.background).any(1, keepdim=True)
        maps = pool.maps(heat, body, self._residual(image) if pool.plan.side != "both" else None)
        where = pool.counted(body)
        score = score if pool.plan.reduction == "detector" else pool.score(maps, where)
        return score, maps, where if pool.plan.rim == "hidden" else None

    def _residual(self, image: Tensor) -> Tensor:
        *_, made = self.detector._reconstructions(image).values()
        spec = self.detector.spec
        return (image - made.clamp(spec.low, spec.high)).mean(1, keepdim=True)


class AsPrepared(nn.Module):
    """The map of a prepared image, with `outside` where it is not to be shown."""

    def __init__(self, outside: float) -> None:
        super().__init__()
        self.outside = outside

    def forward(self, heat: Tensor, shown: Tensor | None) -> Tensor:
        return heat if shown is None else torch.where(shown, heat, self.outside)


class _Named(nn.Module):
    """The same with results by name."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__()
        self.steps = graph

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return dict(zip(OUTPUTS, self.steps(pixels), strict=False))


def write_down(whole: Whole, one: Tensor, other: Tensor, why_outside: str) -> ExportedProgram:
    """The program, from what is computed of two different images (1, C, rows, columns).

    Every operation is recorded as it runs, gradients included. What is computed elsewhere than in torch would stand in the record as a
    number, and so differ between the images: then nothing is written, and `why_outside` says what does so. Raises MedoodError.
    """
    first, second = (_recorded(whole, image) for image in (one, other))
    if not _same(first, second):
        raise MedoodError(f"This run cannot be exported: {why_outside}")
    fold(first)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # the example is kept in the file, and shows nobody
        program = export(_Named(first).eval(), (torch.zeros_like(one),), strict=False).run_decompositions({})
    for node in program.graph.nodes:
        for key in _PLACES:
            node.meta.pop(key, None)
    return program


def _recorded(whole: Whole, image: Tensor) -> GraphModule:
    try:
        with warnings.catch_warnings(), whole.detector.at_rest(), written_down():
            warnings.simplefilter("ignore")
            graph = make_fx(whole, decomposition_table=simpler())(image)
    except MedoodError:
        raise
    except Exception as error:  # whatever a detector of somebody's own does under a record
        why = "its steps depend on the values of the image" if "value out of a tracing tensor" in str(error) else kind_of(error)
        raise MedoodError(f"This run cannot be exported: the steps of its detector cannot be recorded ({why}).") from error
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _same(first: GraphModule, second: GraphModule) -> bool:
    """Whether two records have the same steps and the same numbers."""
    if len(first.graph.nodes) != len(second.graph.nodes):
        return False
    steps = zip(first.graph.nodes, second.graph.nodes, strict=True)
    return all(_equal(_told(first, one), _told(second, other)) for one, other in steps)


def _told(graph: GraphModule, node: Any) -> Any:
    if node.op == "get_attr":
        return getattr(graph, node.target)
    return str(node.target), str(node.args), str(node.kwargs)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and bool(((one == other) | (one != one)).all())
    return type(one) is type(other) and one == other
