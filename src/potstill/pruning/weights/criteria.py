"""Importance criteria of single weights: one score a weight, the lowest go first."""

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.pruning.weights.masks import masked

Criterion = Callable[[str, Tensor], Tensor]  # (path, weight) -> scores of the weight's shape


def lamp(weight: Tensor) -> Tensor:
    """Return w^2 over the sum of the squares of all weights as large or larger.

    Of equal weights the later one is the larger. In float64 on the CPU, where a running sum
    is the same on every machine and in every process.

    Example:
        >>> from torch import tensor
        >>> lamp(tensor([3.0, 1.0, 2.0]))
        tensor([1.0000, 0.0714, 0.3077], dtype=torch.float64)
    """
    squares = weight.detach().flatten().cpu().double().square()
    ordered, order = squares.sort(stable=True)
    rest = ordered.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = torch.where(rest > 0, ordered / rest, 0)
    return scores.view(weight.shape)


def taylor(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return (w * g)^2: to first order, the squared change of the loss without the weight.

    What overflowed in half precision counts as nothing: the optimizer skips such a step.

    Example:
        >>> from torch import tensor
        >>> taylor(tensor([1.0, -2.0]), tensor([3.0, 0.5]))
        tensor([9., 1.])
    """
    change = weight.detach().float() * gradient.detach().float()
    return change.square().nan_to_num(nan=0, posinf=0, neginf=0)


class Magnitude:
    """L1 magnitude, |w|."""

    def __call__(self, path: str, weight: Tensor) -> Tensor:
        """Return |w| of a weight (C_out, ...), of its shape."""
        return weight.detach().abs()


class LAMP:
    """Layer-adaptive magnitude (Lee et al. 2021, arXiv:2010.07611), for the scope `global`.

    Within a layer it is the order of magnitudes.
    """

    def __call__(self, path: str, weight: Tensor) -> Tensor:
        """Return LAMP scores of a weight, of its shape, float64 on the CPU."""
        return lamp(weight)


class Taylor:
    """First-order Taylor importance (Molchanov et al. 2019, arXiv:1906.10771).

    Scores are summed over every gradient that was added: `loss.backward()`, then `add(model)`.

    Attributes:
        sums: scores so far, by the path of the weight; all there is to save.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, model: nn.Module) -> None:
        """Add the gradients of the masked weights as they are now."""
        for place in masked(model):
            if place.weight.grad is None:
                continue
            score = taylor(place.weight, place.weight.grad)
            if place.path in self.sums:
                score += self.sums[place.path].to(score.device)
            self.sums[place.path] = score

    def __call__(self, path: str, weight: Tensor) -> Tensor:
        """Return summed scores of the weight at `path`, of its shape."""
        if path not in self.sums:
            raise ConfigError(
                f"criterion=taylor: {path} has had no gradient. Fix: backward and add first, "
                "or make the layer untouchable"
            )
        return self.sums[path]


class Random:
    """Uniform scores, a function of the seed and the weight's path: the same on every process."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, path: str, weight: Tensor) -> Tensor:
        """Return uniform numbers in [0, 1) of the weight's shape."""
        key = zlib.crc32(f"{self.seed}:{path}".encode())
        return torch.rand(weight.shape, generator=torch.Generator().manual_seed(key))
