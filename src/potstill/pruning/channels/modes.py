"""The modes in which a network takes other paths: evaluation, and training with other branches."""

from collections.abc import Iterator

from torch import nn

from potstill.models.features.hooks import hooked


def forward_modes(net: nn.Module) -> Iterator[str]:
    """Yield "eval", and "training" where evaluation leaves a layer out; `net` is in that mode.

    Auxiliary classifiers run in training only. The innermost modules stay in eval mode then, so
    that dropout and batch norm do the same every time.
    """
    called: set[nn.Module] = set()
    leaves = {m for m in net.modules() if not [*m.children()] and [*m.parameters(recurse=False)]}
    with hooked(leaf.register_forward_hook(lambda m, *_: called.add(m)) for leaf in leaves):
        try:
            net.eval()
            yield "eval"
            if leaves - called:
                for module in net.modules():
                    module.training = bool([*module.children()])
                yield "training"
        finally:
            net.eval()
