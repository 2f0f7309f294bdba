"""FX graph of a network's layers that still knows their containers."""

import logging

from torch import fx, nn

from potstill.errors import ConfigError
from potstill.quantization.graph.dropouts import mark_dropouts, place_dropouts
from potstill.quantization.graph.functionalize import drop_unused, functionalize
from potstill.quantization.graph.tracer import traced
from potstill.quantization.layers import INT8_FORMS, ContainerHook, NormAct

log = logging.getLogger("potstill")
NAMED = 3  # containers that a line names


def trace_layers(model: nn.Module, trains: bool = True) -> fx.GraphModule:
    """Return the graph of `model` with a `ContainerHook` at the path of every container.

    All operations are out of place. Containers whose own code cannot be traced, or is another in
    training, are calls in the graph, and a line names them. Changes `model`, whose modules the
    graph shares.

    Args:
        model: in float32.
        trains: whether the graph must hold in training; else it is that of evaluation where the
            code of `model` itself does otherwise in training, such as return auxiliary logits.

    Raises:
        ConfigError: if the code of `model` itself cannot be traced, or is another in training.
    """
    _split_norm_acts(model)
    whole: set[nn.Module] = set()
    graph, containers = _trace_both(model, trains, whole)
    (found,) = graph.output_node().args
    if not isinstance(found, fx.Node):
        raise ConfigError(
            f"model={type(model).__name__}: returns more than logits. "
            "Fix: logits_alone(model, image_shape), or select_at(model, PLACE)"
        )
    for module in containers:
        module.__class__ = ContainerHook
    result = fx.GraphModule(model, graph, type(model).__name__)
    _name_whole(result, whole)
    place_dropouts(result)
    functionalize(result)
    result.recompile()
    return result


def _trace_both(
    model: nn.Module, trains: bool, whole: set[nn.Module]
) -> tuple[fx.Graph, set[nn.Module]]:
    """Return a graph that holds in both modes, and its containers; those in `whole` are calls."""
    while True:
        known = len(whole)
        try:
            in_evaluation, evaluated = traced(model, False, whole)
            graph, tracer = traced(model, True, whole)
        except Exception as error:  # whatever the network's own code raises on a symbol
            raise ConfigError(_untraceable(model, error)) from error
        if len(whole) > known:  # one mode may have stopped where the other did not
            continue
        mark_dropouts(in_evaluation, graph)
        apart = _first_apart(in_evaluation, graph)
        if apart is not None:  # it may be by auxiliary outputs, of training alone
            drop_unused(model, in_evaluation, evaluated.containers)
            drop_unused(model, graph, tracer.containers)
            mark_dropouts(in_evaluation, graph)
            apart = _first_apart(in_evaluation, graph)
        if apart is None:
            return graph, tracer.containers
        module = _innermost(model, apart)
        if module is model and not trains:
            return in_evaluation, evaluated.containers
        if module is model or module in whole:
            raise ConfigError(
                f"model={type(model).__name__}: its own forward pass reads `training`, and so "
                "cannot be quantized. Fix: use modules such as nn.Dropout"
            )
        # Those of one class do the same.
        whole.update(one for one in model.modules() if type(one) is type(module))


def _untraceable(model: nn.Module, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"model={type(model).__name__}: cannot be quantized, its own forward pass cannot be "
        f"traced ({type(error).__name__}: {reason}). Fix: take conditions on tensors and sizes "
        "out of it, or put them into a module of their own, which then stays in float32"
    )


def _first_apart(one: fx.Graph, other: fx.Graph) -> tuple[fx.Node, fx.Node] | None:
    """Return the first steps at which two graphs are not the same."""
    numbers = [{node: number for number, node in enumerate(g.nodes)} for g in (one, other)]
    for pair in zip(one.nodes, other.nodes, strict=False):
        if _written(pair[0], numbers[0]) != _written(pair[1], numbers[1]):
            return pair
    return None


def _written(node: fx.Node, number: dict[fx.Node, int]) -> str:
    # By number: names count what was dropped.
    return f"{node.op} {node.target} {fx.map_arg((node.args, node.kwargs), number.get)}"


def _innermost(model: nn.Module, apart: tuple[fx.Node, fx.Node]) -> nn.Module:
    """Return the container whose code does otherwise: the innermost that made both steps."""
    stacks = [_containers(node) for node in apart]
    shared = [paths[0] for paths in zip(*stacks, strict=False) if len(set(paths)) == 1]
    return model.get_submodule(shared[-1]) if shared else model


def _containers(node: fx.Node) -> list[str]:
    stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
    if node.op != "call_module":
        return stack
    # A layer is not to blame for where it is called, a container is for where it ends.
    is_layer = stack and stack[-1] == node.target
    return stack[:-1] if is_layer else [*stack, str(node.target)]


def _name_whole(result: fx.GraphModule, whole: set[nn.Module]) -> None:
    called = {str(node.target) for node in result.graph.nodes if node.op == "call_module"}
    paths = [path for path in sorted(called) if result.get_submodule(path) in whole]
    if paths:
        layers = [m for p in paths for m in result.get_submodule(p).modules() if _is_layer(m)]
        more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
        log.warning(
            "quantization: %d of %d convolutions and linear layers stay in float32, those in %s%s, "
            "whose code cannot be traced or is another in training",
            len(layers),
            sum(map(_is_layer, result.modules())),
            ", ".join(paths[:NAMED]),
            more,
        )


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, tuple(INT8_FORMS))


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
