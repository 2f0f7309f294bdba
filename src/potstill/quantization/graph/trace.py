"""FX graph of a network's layers that still knows their containers."""

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from potstill.errors import ConfigError
from potstill.quantization.graph.functionalize import functionalize
from potstill.quantization.layers import ContainerHook, NormAct


class LayerTracer(fx.Tracer):
    """Symbolic tracer that adds the input and output of every container to the graph.

    Layers of torch are kept whole, and so are modules that do otherwise in training than in
    evaluation (stochastic depth): a trace would hold only one of the two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.containers: set[nn.Module] = set()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether `m` stays one call in the graph."""
        if super().is_leaf_module(m, module_qualified_name):
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
        output = super().call_module(m, forward, args, kwargs)
        path = self.path_of_module(m)
        if isinstance(output, fx.Proxy) and not self.is_leaf_module(m, path):
            source = args[0] if args and isinstance(args[0], fx.Proxy) else None
            self.create_proxy("call_module", path, (source, output), {})
            self.containers.add(m)
        return output


def trace_layers(model: nn.Module) -> fx.GraphModule:
    """Return the graph of `model` with a `ContainerHook` at the path of every container.

    All operations are out of place. Changes `model`, whose modules the graph shares.

    Raises:
        ConfigError: if its forward pass cannot be traced, or is another one in training.
    """
    _split_norm_acts(model)
    in_evaluation, _ = _trace(model, training=False)
    graph, containers = _trace(model, training=True)
    if _steps(in_evaluation) != _steps(graph):
        raise ConfigError(
            f"model={type(model).__name__}: its forward pass reads `training` outside its layers, "
            "and so cannot be quantized. Fix: use modules such as nn.Dropout"
        )
    for module in containers:
        module.__class__ = ContainerHook
    traced = fx.GraphModule(model, graph, type(model).__name__)
    functionalize(traced)
    traced.recompile()
    return traced


def _trace(model: nn.Module, training: bool) -> tuple[fx.Graph, set[nn.Module]]:
    tracer, modes = LayerTracer(), {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = training
        return tracer.trace(model), tracer.containers
    except Exception as error:  # whatever the network's own code raises on a symbol
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"model={type(model).__name__}: cannot be quantized, its forward pass cannot be "
            f"traced ({type(error).__name__}: {reason}). Fix: take conditions on tensors out of it"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode


def _steps(graph: fx.Graph) -> list[str]:
    return [f"{node.op} {node.target} {node.args} {node.kwargs}" for node in graph.nodes]


def _extends_a_layer(module: nn.Module) -> bool:
    """Return whether the class refines a layer of torch, such as a LayerNorm over channels."""
    bases = (base for base in type(module).__mro__ if base not in (nn.Module, nn.Sequential))
    return any(base.__module__.startswith("torch.nn.modules") for base in bases)


def _reads_training(module: nn.Module) -> bool:
    return "training" in type(module).forward.__code__.co_names


def _split_norm_acts(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            inside = [getattr(child, part, None) for part in ("drop", "act")]
            if isinstance(child, nn.BatchNorm2d) and all(isinstance(m, nn.Module) for m in inside):
                setattr(parent, name, _split(child))


def _split(norm_act: nn.BatchNorm2d) -> NormAct:
    drop, act = norm_act.drop, norm_act.act
    del norm_act.drop, norm_act.act
    norm_act.__class__ = nn.BatchNorm2d
    return NormAct(norm_act, drop, act).train(norm_act.training)  # type: ignore[arg-type]
