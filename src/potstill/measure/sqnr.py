"""Signal-to-quantization-noise ratio of two sets of outputs, in decibels."""

import math

from torch import Tensor


def sqnr_db(reference: Tensor, other: Tensor) -> float:
    """Return 10 log10(|r|^2 / |r - o|^2) over all elements; infinite where nothing differs.

    Example:
        >>> from torch import tensor
        >>> sqnr_db(tensor([[3.0, 4.0]]), tensor([[3.5, 4.0]]))
        20.0
    """
    signal = reference.double().square().sum().item()
    noise = (reference.double() - other.double()).square().sum().item()
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def centred_sqnr_db(reference: Tensor, other: Tensor) -> float:
    """Return `sqnr_db` of logits (N, K) after the mean over the classes is taken off each image.

    Softmax does not see what all classes have in common: an offset of all logits is no signal,
    and would flatter.

    Example:
        >>> from torch import tensor
        >>> logits, noisy = tensor([[103.0, 97.0]]), tensor([[103.3, 96.7]])
        >>> round(sqnr_db(logits, noisy), 1), round(centred_sqnr_db(logits, noisy), 1)
        (50.5, 20.0)
    """
    return sqnr_db(centred(reference), centred(other))


def centred(logits: Tensor) -> Tensor:
    """Return logits (N, K) less their mean over the classes, in float64.

    Example:
        >>> from torch import tensor
        >>> centred(tensor([[103.0, 97.0]])).tolist()
        [[3.0, -3.0]]
    """
    wide = logits.double()
    return wide - wide.mean(dim=1, keepdim=True)
