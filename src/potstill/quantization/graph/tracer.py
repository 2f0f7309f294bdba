"""FX tracer of layers and containers; a container that it cannot follow stays one call."""

import inspect
import logging
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import fx, nn

log = logging.getLogger("potstill")


class LayerTracer(fx.Tracer):
    """Symbolic tracer that adds the input and output of every container to the graph.

    Layers of torch are kept whole, and so are modules that do otherwise in training than in
    evaluation (stochastic depth): a trace would hold only one of the two. Of containers within
    one another, the innermost that cannot be traced is kept whole as well, and computes in float32.

    Args:
        whole: containers to keep whole whatever they compute.
    """

    def __init__(self, whole: set[nn.Module]) -> None:
        super().__init__()
        self.whole = whole
        self.containers: set[nn.Module] = set()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether `m` stays one call in the graph."""
        if m in self.whole or super().is_leaf_module(m, module_qualified_name):
            return True
        return not any(m.children()) and (_extends_a_layer(m) or _reads_training(m))

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Return the output of `m`, and add a call of its hooks where `m` is a container."""
        nodes, stack = list(self.graph.nodes), list(self.module_stack.items())
        try:
            output = super().call_module(m, forward, args, kwargs)
        except Exception as error:  # whatever the network's own code raises on a symbol
            log.debug("quantization: %s stays whole: %s", type(m).__name__, error)
            self._forget(nodes)
            self.module_stack.clear()
            self.module_stack.update(stack)
            self.whole.add(m)
            return super().call_module(m, forward, args, kwargs)
        path = self.path_of_module(m)
        if isinstance(output, fx.Proxy) and not self.is_leaf_module(m, path):
            source = args[0] if args and isinstance(args[0], fx.Proxy) else None
            self.create_proxy("call_module", path, (source, output), {})
            self.containers.add(m)
        return output

    def _forget(self, nodes: list[fx.Node]) -> None:
        known = set(nodes)
        for node in reversed(list(self.graph.nodes)):
            if node not in known:
                self.graph.erase_node(node)


def traced(model: nn.Module, training: bool, whole: set[nn.Module]) -> tuple[fx.Graph, LayerTracer]:
    """Return the graph of `model` in one of its modes, and its tracer; adds to `whole`."""
    tracer, modes = LayerTracer(whole), {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = training
        # What a network keeps from one evaluation to the next, it does not keep in torch's trace.
        with mock.patch.object(torch.jit, "is_tracing", return_value=True):
            graph = tracer.trace(model, _defaults(model))
    finally:
        for module, mode in modes.items():
            module.training = mode
    _take_one_input(graph)
    return graph, tracer


def _defaults(model: nn.Module) -> dict[str, Any]:
    """Return what `model` takes beside images where nobody says."""
    parameters = inspect.signature(model.forward).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _take_one_input(graph: fx.Graph) -> None:
    """Take out of a graph what checks that nothing but images is given."""
    _, *others = [node for node in graph.nodes if node.op == "placeholder"]
    beside = set(others)
    for node in graph.nodes:
        if node.all_input_nodes and beside.issuperset(node.all_input_nodes):
            beside.add(node)
    for node in reversed(list(graph.nodes)):
        if node in beside:
            graph.erase_node(node)


def _extends_a_layer(module: nn.Module) -> bool:
    """Return whether the class refines a layer of torch, such as a LayerNorm over channels."""
    bases = (base for base in type(module).__mro__ if base not in (nn.Module, nn.Sequential))
    return any(base.__module__.startswith("torch.nn.modules") for base in bases)


def _reads_training(module: nn.Module) -> bool:
    return "training" in type(module).forward.__code__.co_names
