"""The logits among what a network returns: a tensor, or one in a tuple, dict or dataclass."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from potstill.errors import ConfigError
from potstill.models.features.hooks import hook_side, hooked

NAME = "logits"  # what most networks call them


def tensors_by_place(found: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield (place, tensor) of every tensor in what a network returned.

    A place is the keys, field names and positions on the way, joined by dots; "" is the whole.

    >>> found = {"logits": torch.zeros(1), "maps": [torch.ones(1)]}
    >>> [place for place, _ in tensors_by_place(found)]
    ['logits', 'maps.0']
    """
    if (tensor := _tensor(found)) is not None:
        yield place, tensor
    for key, value in _parts(found):
        yield from tensors_by_place(value, f"{place}.{key}" if place else str(key))


def blank_images(network: nn.Module, image_shape: Sequence[int]) -> Tensor:
    """Return two black images (2, C, H, W) where the network is, in its precision."""
    weight = next(network.parameters(), torch.zeros(()))
    return torch.zeros(2, *image_shape, device=weight.device, dtype=weight.dtype)


def find_logits(
    network: nn.Module,
    image_shape: Sequence[int],
    classes: int | None = None,
    like: str | None = None,
) -> str:
    """Return the place of the logits, found by running `network` on two black images.

    Of several tensors (N, K) the one at a place named `logits` counts, else one of `classes`
    columns and a linear layer's output, or either; of several such the one at `like`.

    Args:
        network: runs in the mode it is in; batch-norm's statistics follow where that is training.
        image_shape: (C, H, W).
        classes: K, where it is known.
        like: the place in the network's other mode.

    Raises:
        ConfigError: if no tensor or several could be the logits.
    """
    made: list[Tensor] = []
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    images = blank_images(network, image_shape)
    hooks = (hook_side(layer, "output", made.append) for layer in layers)
    with hooked(hooks), torch.no_grad():
        found = network(images)
    if isinstance(found, Tensor):
        return ""
    rows = {p: t for p, t in tensors_by_place(found) if t.dim() == 2 and t.shape[0] == len(images)}
    named = {p: t for p, t in rows.items() if p.split(".")[-1] == NAME}
    sized = {p: t for p, t in rows.items() if t.shape[1] == classes}
    linear = {p: t for p, t in rows.items() if any(t is out for out in made)}
    both = {p: t for p, t in sized.items() if p in linear}
    likely = named or both or sized or linear or rows
    if like in likely:
        return like
    if len({id(tensor) for tensor in likely.values()}) != 1:
        raise ConfigError(
            f"output: the logits of {type(network).__name__} could be any of "
            f"{_listed(likely or found)}. Fix: output=PLACE, one of them"
        )
    return next(iter(likely))


def select_logits(found: Any, place: str) -> Tensor:
    """Return the tensor at `place` of what a network returned; a lone tensor is the logits.

    >>> select_logits((torch.ones(2, 5), torch.zeros(2, 8)), "0").shape
    torch.Size([2, 5])

    Raises:
        ConfigError: if there is none.
    """
    if (tensor := _tensor(found)) is not None:  # as in eval mode, without auxiliary outputs
        return tensor
    for here, tensor in tensors_by_place(found):
        if here == place:
            return tensor
    raise ConfigError(
        f"output={place}: the network returns no tensor there but {_listed(found)}. "
        "Fix: output=PLACE, one of them"
    )


def _tensor(found: Any) -> Tensor | None:
    # While a network is traced, its tensors are proxies.
    return found if isinstance(found, Tensor | fx.Proxy) else None  # type: ignore[return-value]


def _parts(found: Any) -> list[tuple[Any, Any]]:
    if isinstance(found, Mapping):
        return list(found.items())
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        return [(field.name, getattr(found, field.name)) for field in dataclasses.fields(found)]
    if isinstance(found, tuple) and hasattr(found, "_asdict"):
        return list(found._asdict().items())
    return list(enumerate(found)) if isinstance(found, (tuple, list)) else []


def _listed(found: Any) -> str:
    places = [f"{place or '(whole)'} {tuple(t.shape)}" for place, t in tensors_by_place(found)]
    return ", ".join(places) or f"no tensor ({type(found).__name__})"
