"""Forward hooks that are removed again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end, whatever happens.

    Args:
        handles: what registering the hooks returned; each is registered on entry.

    Example:
        >>> import torch
        >>> layer, shapes = nn.Linear(2, 3), []
        >>> with hooked([hook_side(layer, "output", lambda out: shapes.append(out.shape))]):
        ...     _ = layer(torch.zeros(4, 2))
        >>> _ = layer(torch.zeros(4, 2))
        >>> shapes
        [torch.Size([4, 3])]
    """
    registered = list(handles)
    try:
        yield
    finally:
        for handle in registered:
            handle.remove()


def hook_side(module: nn.Module, side: str, read: Callable[[Tensor], object]) -> RemovableHandle:
    """Have `read` called with what a module takes or gives at each call; it changes nothing.

    Args:
        module: any that takes one tensor first.
        side: "input" (before the call, which may overwrite it) or "output".
        read: its return value is dropped.
    """
    # A hook that returns None leaves the value as it is.
    if side == "input":
        return module.register_forward_pre_hook(lambda _, args: _dropped(read(args[0])))
    return module.register_forward_hook(lambda _, args, output: _dropped(read(output)))


def _dropped(value: object) -> None:
    """Return None."""
