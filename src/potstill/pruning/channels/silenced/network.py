"""Dense network without the channels that a plan removes, and the place where it fails."""

from typing import Any

import torch
from torch import Tensor, nn

from potstill.pruning.channels.plan import ChannelPlan
from potstill.pruning.channels.slicing import find_part, sliced_tensors


@torch.no_grad()
def silence(net: nn.Module, plan: ChannelPlan) -> nn.Module:
    """Make NaN of all weights of the dense `net` that `plan` cuts away, in place."""
    for path, side, kept in plan.cuts():
        for tensor, dim, channels in sliced_tensors(find_part(net, path), side, kept.channels):
            gone = sorted(set(range(tensor.shape[dim])) - set(channels))
            if tensor.is_floating_point():
                tensor.index_fill_(dim, torch.tensor(gone, dtype=torch.long), torch.nan)
    return net


class CallStack:
    """While entered, the paths of the modules that are running; kept where one raises."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.paths = net, [""]
        self._handles: list[Any] = []

    @property
    def innermost(self) -> str:
        """The path of the module that was entered last and not left."""
        return self.paths[-1]

    def __enter__(self) -> "CallStack":
        for path, module in self.net.named_modules():
            self._handles += [
                module.register_forward_pre_hook(self._enter(path)),
                module.register_forward_hook(lambda module, args, output: self._leave()),
            ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _enter(self, path: str) -> Any:
        return lambda module, args: self.paths.append(path)

    def _leave(self) -> None:
        self.paths.pop()


class Outputs:
    """While entered, what each module returns: (path, entries that are there), in order."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.values: list[tuple[str, Tensor]] = []
        self._handles: list[Any] = []

    def __enter__(self) -> "Outputs":
        for path, module in self.net.named_modules():
            self._handles.append(module.register_forward_hook(self._note(path)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _note(self, path: str) -> Any:
        def note(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                self.values.append((path, present(output).clone()))

        return note


def present(value: Tensor) -> Tensor:
    """Return the entries that are not absent, in order, (n,)."""
    return value[~value.isnan()]
