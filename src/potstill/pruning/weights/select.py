"""Selection of the weights to prune, exactly as many as demanded."""

import math

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.pruning.weights.criteria.base import Criterion
from potstill.pruning.weights.criteria.magnitude import Magnitude
from potstill.pruning.weights.masks import Place, masked

SCOPES = ("layer", "global")


def check_sparsity(model: nn.Module, sparsity: float, criterion: Criterion, scope: str) -> None:
    """Raise if `sparsity` would empty a layer or prune nothing.

    Raises:
        ConfigError: so, or if a value is out of range or has no effect.
    """
    if scope not in SCOPES:
        raise ConfigError(f"scope={scope}: must be layer or global. Fix: scope=layer")
    criterion.check_scope(scope)
    if not 0 < sparsity < 1:
        raise ConfigError(f"sparsity={sparsity}: must be between 0 and 1. Fix: sparsity=0.5")
    sizes = {place.path: place.weight.numel() for place in masked(model)}
    groups = sizes if scope == "layer" else {"the network": sum(sizes.values())}
    counts = {path: round(sparsity * size) for path, size in groups.items()}
    for path, count in counts.items():
        if count == groups[path]:
            raise _emptied(path, f"sparsity={sparsity}", scope)
    if not any(counts.values()):
        raise ConfigError(
            f"sparsity={sparsity}: prunes no weight. Fix: a higher sparsity, or other layers"
        )


def check_pattern(model: nn.Module, n: int, m: int) -> list[Place]:
    """Return the masked weights that n of m fits: those with a multiple of m inputs.

    Raises:
        ConfigError: if n and m make no pattern, or there are none.
    """
    if not 0 < n < m:
        raise ConfigError(f"n={n}, m={m}: n of m weights must stay, n under m. Fix: n=2, m=4")
    places = [place for place in masked(model) if place.weight.shape[1] % m == 0]
    if not places:
        raise ConfigError(f"m={m}: the inputs of no layer are a multiple of it. Fix: a smaller m")
    return places


def _emptied(path: str, setting: str, scope: str) -> ConfigError:
    other = "scope=layer, criterion LAMP" if scope == "global" else "scope=global"
    return ConfigError(
        f"{setting}: leaves nothing of {path}. Fix: a lower one, {other}, or make it untouchable"
    )


@torch.no_grad()
def choose_masks(
    model: nn.Module, sparsity: float, criterion: Criterion | None = None, scope: str = "layer"
) -> dict[str, Tensor]:
    """Return masks by path that prune round(sparsity * n) weights, of each layer or of all.

    The lowest scores go; of equal ones, those that come first. What is pruned stays pruned.

    Raises:
        ConfigError: if more is pruned already, or a layer would be left empty.
    """
    places = masked(model)
    scores = [_scores(place, criterion or Magnitude()).flatten() for place in places]
    setting = f"sparsity={sparsity:.4g}, scope={scope}"
    if scope == "global":
        pruned = _lowest(torch.cat(scores), sparsity).split([len(score) for score in scores])
    else:
        pruned = tuple(_lowest(score, sparsity) for score in scores)
    found = {}
    for place, gone in zip(places, pruned, strict=True):
        found[place.path] = ~gone.view(place.weight.shape)
        if gone.all():
            raise _emptied(place.path, setting, scope)
        if (found[place.path] & ~place.mask.cpu()).any():
            raise ConfigError(
                f"{setting}: more of {place.path} is pruned already. Fix: a higher one"
            )
    return found


@torch.no_grad()
def choose_pattern(
    model: nn.Module, n: int = 2, m: int = 4, criterion: Criterion | None = None
) -> dict[str, Tensor]:
    """Return masks by path that leave n of every m weights along the input (arXiv:2102.04010).

    A layer whose inputs are no multiple of m (images, depthwise) is left out.

    Raises:
        ConfigError: as `check_pattern`.
    """
    places = check_pattern(model, n, m)
    found = {}
    for place in places:
        scores = _scores(place, criterion or Magnitude()).movedim(1, -1)  # (out, ..., in)
        order = scores.reshape(-1, m).argsort(dim=1, stable=True)
        keep = torch.ones_like(order, dtype=torch.bool).scatter_(1, order[:, : m - n], False)
        found[place.path] = keep.view(scores.shape).movedim(-1, 1) & place.mask.cpu()
    return found


def _scores(place: Place, criterion: Criterion) -> Tensor:
    """Return scores on the CPU, where equal numbers are ordered alike on every machine."""
    scores = criterion(place.path, place.weight).cpu()
    return scores.masked_fill(~place.mask.cpu(), -math.inf)


def _lowest(scores: Tensor, sparsity: float) -> Tensor:
    """Return which round(sparsity * n) of the scores (n,) are lowest, the first ones of equals."""
    count = round(sparsity * len(scores))
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = scores.kthvalue(count).values  # seven times as fast as sorting
    lowest = scores < threshold
    ties = (scores == threshold).nonzero().flatten()
    lowest[ties[: count - int(lowest.sum())]] = True
    return lowest
