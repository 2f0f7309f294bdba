"""Importance scores that criteria of channels and of single weights share."""

import torch
from torch import Tensor


def lamp(squares: Tensor) -> Tensor:
    """Return squares (n,), each over the sum of itself and all that are larger.

    Equation 1 of Lee et al. 2021, arXiv:2010.07611. Of equal ones the later is the larger.

    Example:
        >>> from torch import tensor
        >>> lamp(tensor([9.0, 1.0, 4.0]))
        tensor([1.0000, 0.0714, 0.3077])
    """
    ascending, order = squares.sort(stable=True)
    rest = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = torch.where(rest > 0, ascending / rest, 0)
    return scores


def first_order(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return w g: the change of the loss, to first order, where a weight is there.

    Example:
        >>> from torch import tensor
        >>> first_order(tensor([1.0, -2.0]), tensor([3.0, 0.5]))
        tensor([ 3., -1.])
    """
    return weight.detach() * gradient.detach()
