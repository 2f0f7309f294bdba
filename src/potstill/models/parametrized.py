"""Weights that are not plain parameters of one layer: parametrized ones, and shared ones."""

import warnings
from collections.abc import Iterable, Sequence

from torch import nn
from torch.nn.utils import remove_spectral_norm, remove_weight_norm
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from potstill.libraries.torch import forward_pre_hooks
from potstill.models.copies import copy_network

OLD = (WeightNorm, SpectralNorm)  # done by hooks, before parametrizations were there


def bake(model: nn.Module, paths: Iterable[str]) -> list[str]:
    """Make plain weights of what the modules at `paths` compute theirs from; return which had such.

    A norm over fewer weights would be another one, so the weights as they are now stay.
    """
    modules = dict(model.named_modules())
    return [path for path in dict.fromkeys(paths) if path in modules and _baked(modules[path])]


def plain_copy(network: nn.Module) -> nn.Module:
    """Return a copy in which every weight is a plain one; where one was not, a line says so."""
    plain = copy_network(network)
    if baked := bake(plain, _paths(plain)):
        warn_baked(network, baked)
    return plain


def with_plain_weights(network: nn.Module) -> nn.Module:
    """Return a network that computes the same of plain weights: itself, where they all are."""
    plain = copy_network(network)
    return plain if bake(plain, _paths(plain)) else network


def _paths(network: nn.Module) -> list[str]:
    return [path for path, _ in network.named_modules()]


def warn_baked(network: nn.Module, paths: Sequence[str]) -> None:
    """Say that weights are plain ones from now on."""
    warnings.warn(
        f"model={type(network).__name__}: the parametrized weights of {', '.join(paths)} are "
        "plain ones from now on, as they are now",
        stacklevel=3,
    )


def shared_parameters(model: nn.Module) -> list[list[tuple[nn.Module, str]]]:
    """Return (module, name) of every parameter that several modules hold, in one list each.

    >>> first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> second.weight = first.weight
    >>> [[name for _, name in held] for held in shared_parameters(nn.Sequential(first, second))]
    [['weight', 'weight']]
    """
    holders: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            holders.setdefault(parameter, []).append((module, name))
    return [held for held in holders.values() if len(held) > 1]


def _baked(module: nn.Module) -> bool:
    hooks = [h for h in forward_pre_hooks(module) if isinstance(h, OLD)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but networks have them
        for hook in hooks:
            (remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm)(
                module, hook.name
            )
    if not is_parametrized(module) or not isinstance(module.parametrizations, nn.Module):
        return bool(hooks)
    # Not torch's own removal: it takes the property off a class that copies share.
    weights = {}
    for name, held in module.parametrizations.named_children():
        trained = any(parameter.requires_grad for parameter in held.parameters())
        weights[name] = nn.Parameter(getattr(module, name).detach(), trained)
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, weight in weights.items():
        module.register_parameter(name, weight)
    return True
