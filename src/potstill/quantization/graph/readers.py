"""Readers of a value in a traced network: the steps that compute with it."""

from torch import fx, nn

from potstill.quantization.layers import ContainerHook


def only_reader(node: fx.Node, traced: fx.GraphModule) -> fx.Node | None:
    """Return the one step that computes with `node`, None where there is none or several.

    The hooks of containers read without computing.
    """
    readers = [n for n in node.users if not isinstance(called(n, traced), ContainerHook)]
    return readers[0] if len(readers) == 1 else None


def called(node: fx.Node | None, traced: fx.GraphModule) -> nn.Module | None:
    """Return the module that a step calls, None where it calls none."""
    if node is None or node.op != "call_module":
        return None
    return traced.get_submodule(str(node.target))
