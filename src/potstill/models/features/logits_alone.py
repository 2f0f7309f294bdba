"""Networks that return more than logits, made to return the logits alone."""

import logging
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, fx, nn

from potstill.errors import ConfigError
from potstill.models.copies import copy_network
from potstill.models.features.logits import (
    blank_images,
    find_logits,
    select_logits,
    tensors_by_place,
)
from potstill.models.features.trace import in_eval_mode

log = logging.getLogger("potstill")


class LogitsAlone(nn.Module):
    """Base of the classes that `select_at` makes: one tensor of what the own forward returns.

    Class attributes:
        place: of the logits in what the network's own forward returns.
    """

    place: ClassVar[str]

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        return select_logits(super().forward(image), self.place)


def select_at(network: nn.Module, place: str) -> nn.Module:
    """Have `network` return the tensor at `place` of what it returns, and return it.

    It stays the same object with the same parameters and layers, its class becomes a subclass.

    Example:
        >>> class Two(nn.Module):
        ...     def forward(self, x):
        ...         return {"logits": x, "features": x + 1}
        >>> select_at(Two(), "logits")(torch.zeros(2))
        tensor([0., 0.])
    """
    kind = _own_class(network)
    own = {"place": str(place), "__module__": kind.__module__, "__doc__": kind.__doc__}
    network.__class__ = type(kind.__name__, (LogitsAlone, kind), own)
    return network


def _own_class(network: nn.Module) -> type[nn.Module]:
    kind = type(network)
    return kind.__mro__[2] if issubclass(kind, LogitsAlone) else kind


def logits_alone(
    network: nn.Module,
    image_shape: Sequence[int],
    classes: int | None = None,
    key: str = "model",
    trains: bool = True,
) -> nn.Module:
    """Have `network` return its logits alone where it returns more, in place, and return it.

    Their place is found by running a copy, in training as well: some return auxiliary outputs in
    training alone. What serves only such outputs is frozen, with a line that says so.

    Args:
        network: returns a tensor, or a tuple, dict or dataclass of them, nested or not.
        image_shape: (C, H, W).
        classes: K, where it is known.
        key: of the network, for messages.
        trains: whether it will be in training mode.

    Raises:
        ConfigError: if no tensor or several could be the logits, or they are at two places.
    """
    named = network.place if isinstance(network, LogitsAlone) else None
    images = blank_images(network, image_shape)
    # Dropout draws from the random numbers; modes are put back.
    with torch.random.fork_rng(devices=_cuda(images)), in_eval_mode(network):
        probe = network if named is None and not trains else copy_network(network)
        probe.__class__ = _own_class(probe)
        try:
            place = _place(probe, image_shape, classes, named, trains)
        except ConfigError as error:
            line = str(error).replace("output=PLACE", f"{key}.output=PLACE")
            raise ConfigError(f"{key}.{line}") from error
        if not place:
            return network
        if isinstance(network, fx.GraphModule):
            raise ConfigError(
                f"{key}.output={place}: a traced graph cannot return its logits alone. "
                "Fix: the network it was traced from"
            )
        if trains:
            _freeze(network, _auxiliary(probe.train(), images, place), key)
    return select_at(network, place)


def _cuda(images: Tensor) -> list[torch.device]:
    return [images.device] if images.device.type == "cuda" else []


@torch.no_grad()
def _place(
    probe: nn.Module,
    image_shape: Sequence[int],
    classes: int | None,
    named: str | None,
    trains: bool,
) -> str:
    """Return where the logits are in every mode that counts; "" where they are all."""
    place, is_alone = named or "", True
    for mode in (False, True) if trains else (False,):
        if trains:
            probe.train(mode)
        if named is not None:
            found = probe(blank_images(probe, image_shape))
            select_logits(found, named)
            is_alone &= isinstance(found, Tensor)
            continue
        here = find_logits(probe, image_shape, classes, place)
        if place and here and here != place:
            raise ConfigError(
                f"output: the logits are at {here} in training and at {place} otherwise. "
                "Fix: a network that has them at one place"
            )
        place = place or here
    if named is not None and trains and is_alone:
        raise ConfigError(f"output={named}: it returns a tensor alone. Fix: leave it out")
    return place


def _auxiliary(probe: nn.Module, images: Tensor, place: str) -> list[str]:
    """Return the parameters that other outputs than the logits depend on, and the logits do not."""
    named = [(name, p) for name, p in probe.named_parameters() if p.requires_grad]
    found = probe(images)
    others = [t for here, t in tensors_by_place(found) if here != place and t.requires_grad]
    if not others or not named:
        return []
    logits, other = select_logits(found, place).sum(), torch.stack([t.sum() for t in others]).sum()
    weights = [weight for _, weight in named]
    used = torch.autograd.grad(logits, weights, retain_graph=True, allow_unused=True)
    reached = torch.autograd.grad(other, weights, allow_unused=True)
    return [
        name for (name, _), u, r in zip(named, used, reached, strict=True) if u is None is not r
    ]


def _freeze(network: nn.Module, names: list[str], key: str) -> None:
    for name in names:
        network.get_parameter(name).requires_grad_(False)
    if names:
        layers = dict.fromkeys(name.partition(".")[0] for name in names)
        _warn_once(f"{key}: {', '.join(layers)} serve no logits, and do not train")


@cache
def _warn_once(line: str) -> None:
    log.warning(line)
