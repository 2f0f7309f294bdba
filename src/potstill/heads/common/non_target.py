"""Target and non-target logits, gathered without masks that a GPU must wait for."""

import torch
from torch import Tensor


def labels(target: Tensor) -> Tensor:
    """Return class indices (N,): the target itself, or the largest of probabilities (N, K)."""
    return target if target.dim() == 1 else target.argmax(1)


def target_logit(logits: Tensor, target: Tensor) -> Tensor:
    """Return the logit of the labelled class, (N,)."""
    return logits.gather(1, labels(target)[:, None]).squeeze(1)


def non_target(logits: Tensor, target: Tensor) -> Tensor:
    """Return the logits (N, K - 1) of all classes but the labelled one, in order.

    Example:
        >>> from torch import tensor
        >>> non_target(tensor([[5.0, 6.0, 7.0]]), tensor([1]))
        tensor([[5., 7.]])
    """
    index = torch.arange(logits.shape[1] - 1, device=logits.device)
    index = index + (index >= labels(target)[:, None]).long()  # (N, K - 1)
    return logits.gather(1, index)


def log_odds(logits: Tensor, target: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of the labelled class, (N,), exact however large the gap.

    `logsigmoid` of it and of its negative are log p and log (1 - p).

    Example:
        >>> from torch import tensor
        >>> log_odds(tensor([[0.75, 0.25]]).log(), tensor([0]))
        tensor([1.0986])
    """
    return target_logit(logits, target) - non_target(logits, target).logsumexp(1)
