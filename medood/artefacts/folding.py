"""What of a record is the same for every image: computed once, and kept as a number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

_PICKED = torch.ops.aten.index.Tensor


def fold(graph: GraphModule) -> None:
    """Compute every step that rests on numbers alone, and name the places that a fixed mask picks, as their count is fixed too."""
    known: dict[Node, Tensor] = {}
    for node in list(graph.graph.nodes):
        if node.op == "get_attr":
            known[node] = getattr(graph, node.target)
        elif _is_fixed(node, known):
            found = node.target(*_filled(node.args, known), **_filled(node.kwargs, known))
            if isinstance(found, Tensor):
                known[_put(graph, node, found)] = found
        elif node.target is _PICKED:
            _name_places(graph, node, known)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()


def _is_fixed(node: Node, known: dict[Node, Tensor]) -> bool:
    inputs = node.all_input_nodes
    functional = isinstance(node.target, torch._ops.OpOverload) and not node.target._schema.is_mutable
    return node.op == "call_function" and functional and bool(inputs) and all(each in known for each in inputs)


def _filled(arguments: Any, known: dict[Node, Tensor]) -> Any:
    """The arguments with the numbers themselves."""
    return torch.fx.node.map_arg(arguments, lambda node: known[node])


def _put(graph: GraphModule, node: Node, value: Tensor) -> Node:
    """The step replaced by its result."""
    name = f"folded_{len(graph._buffers)}"
    graph.register_buffer(name, value.detach().clone().contiguous())
    with graph.graph.inserting_before(node):
        held = graph.graph.get_attr(name)
    node.replace_all_uses_with(held)
    return held


def _name_places(graph: GraphModule, node: Node, known: dict[Node, Tensor]) -> None:
    values, picks = node.args[0], list(node.args[1])  # type: ignore[arg-type]  # the operation has a list there
    for at, pick in enumerate(picks):
        mask = known.get(pick) if isinstance(pick, Node) else None
        if mask is None or mask.dtype != torch.bool or mask.ndim != 1:
            continue
        name = f"places_{len(graph._buffers)}"
        graph.register_buffer(name, mask.nonzero()[:, 0])
        with graph.graph.inserting_before(node):
            picks[at] = graph.graph.get_attr(name)
    node.args = (values, picks)
