"""The logits among what a network returns: a tensor, or one in a tuple, dict or dataclass."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.models.features.hooks import hook_side, hooked
from potstill.models.features.trace import in_eval_mode

NAME = "logits"  # what most networks call them


def tensors_by_place(found: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield (place, tensor) of every tensor in what a network returned.

    A place is the keys, field names and positions on the way, joined by dots; "" is the whole.

    >>> found = {"logits": torch.zeros(1), "maps": [torch.ones(1)]}
    >>> [place for place, _ in tensors_by_place(found)]
    ['logits', 'maps.0']
    """
    if isinstance(found, Tensor):
        yield place, found
    for key, value in _parts(found):
        yield from tensors_by_place(value, f"{place}.{key}" if place else str(key))


def find_logits(network: nn.Module, image_shape: Sequence[int], classes: int | None = None) -> str:
    """Return the place of the logits, found by running `network` on two black images.

    Of several tensors (N, K) the one at a place named `logits` counts, else one of `classes`
    columns, else the output of a linear layer; of equals (as with auxiliary classifiers) the first.

    Raises:
        ConfigError: if no tensor or several could be the logits.
    """
    made: list[Tensor] = []
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    like = next(network.parameters(), torch.zeros(()))
    image = torch.zeros(2, *image_shape, device=like.device, dtype=like.dtype)
    hooks = (hook_side(layer, "output", made.append) for layer in layers)
    with hooked(hooks), in_eval_mode(network), torch.no_grad():
        found = network(image)
    if isinstance(found, Tensor):
        return ""
    rows = {p: t for p, t in tensors_by_place(found) if t.dim() == 2 and t.shape[0] == len(image)}
    named = {p: t for p, t in rows.items() if p.split(".")[-1] == NAME}
    sized = {p: t for p, t in rows.items() if t.shape[1] == classes}
    linear = {p: t for p, t in rows.items() if any(t is out for out in made)}
    likely = named or sized or linear or rows
    if len({t.shape[1] for t in likely.values()}) != 1:
        raise ConfigError(
            f"output: the logits of {type(network).__name__} could be any of "
            f"{_listed(found)}. Fix: output=PLACE, one of them"
        )
    return next(iter(likely))


def select_logits(found: Any, place: str) -> Tensor:
    """Return the tensor at `place` of what a network returned.

    >>> select_logits((torch.ones(2, 5), torch.zeros(2, 8)), "0").shape
    torch.Size([2, 5])

    Raises:
        ConfigError: if there is none.
    """
    for here, tensor in tensors_by_place(found):
        if here == place:
            return tensor
    raise ConfigError(
        f"output={place}: the network returns no tensor there but {_listed(found)}. "
        "Fix: output=PLACE, one of them"
    )


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
