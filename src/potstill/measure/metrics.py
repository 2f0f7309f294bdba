"""Accuracy, calibration and agreement of classifiers, from logits.

As functions of the logits of a whole data set, and as torchmetrics modules that take them batch
by batch: `accuracy` and `Accuracy`, `calibration_error` and `CalibrationError`, `agreement` and
`Agreement`, `divergence` and `Divergence`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassCalibrationError
from torchmetrics.functional.classification import multiclass_calibration_error

from potstill.measure.confusion import MAX_PAIRS, Confusion, listed

NUM_BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width over the confidence: what was claimed and what came true.

    Attributes:
        confidence: (B,) mean confidence of a bin's predictions, NaN where it is empty.
        accuracy: (B,) fraction of them that were right, NaN where it is empty.
        count: (B,) number of predictions.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor


def _is_right(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.argmax(dim=1) == targets  # (M,)


def _names_the_same(student: Tensor, teacher: Tensor) -> Tensor:
    return _is_right(student, teacher.argmax(dim=1))


def _divergences(student: Tensor, teacher: Tensor) -> Tensor:
    log_p, log_q = teacher.log_softmax(dim=1), student.log_softmax(dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)  # (M,)


class _MeanOverImages(Metric):
    """The mean of a score of single images."""

    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def score(self, logits: Tensor, other: Tensor) -> Tensor:
        """Return the score of each image of a batch, (N,)."""
        raise NotImplementedError

    def update(self, logits: Tensor, other: Tensor) -> None:
        """Add a batch of logits (N, K)."""
        scores = self.score(logits, other)
        self.total += scores.float().sum()
        self.count += len(scores)

    def compute(self) -> Tensor:
        """Return the mean over all images so far."""
        return self.total / self.count


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """Return the fraction of (M, K) logits whose largest entry is at `targets` (M,).

    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
    0.5
    """
    return _share(_is_right(logits, targets))


class Accuracy(_MeanOverImages):
    """`accuracy` over batches: logits (N, K), targets (N,)."""

    def score(self, logits: Tensor, other: Tensor) -> Tensor:
        """Return the score of each image of a batch, (N,)."""
        return _is_right(logits, other)


def confusion(logits: Tensor, targets: Tensor, most: int = MAX_PAIRS) -> Confusion:
    """Return the counts of (M, K) logits and (M,) targets, the `most` most frequent mistakes.

    Example:
        >>> from torch import tensor
        >>> found = confusion(tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]]), tensor([0, 1, 1]))
        >>> found.matrix().tolist()
        [[1, 0], [1, 1]]
    """
    num_classes, right = logits.shape[1], _is_right(logits, targets)
    codes = (targets * num_classes + logits.argmax(dim=1))[~right]
    pairs, images = (part.cpu().numpy() for part in torch.unique(codes, return_counts=True))
    support, correct = (
        torch.bincount(some, minlength=num_classes).tolist() for some in (targets, targets[right])
    )
    return listed(support, correct, (pairs // num_classes, pairs % num_classes, images), most)


def class_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the accuracy on each class, (K,) float64, NaN for one that has no image.

    Example:
        >>> from torch import tensor
        >>> class_accuracy(tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]]), tensor([0, 1, 1]))
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    right, num_classes = _is_right(logits, targets), logits.shape[1]
    found, support = (
        torch.bincount(some, minlength=num_classes).double() for some in (targets[right], targets)
    )
    return found / support


def calibration_error(logits: Tensor, targets: Tensor, bins: int = NUM_BINS) -> float:
    """Return the expected calibration error, 0 to 1 (Guo et al. 2017, arXiv:1706.04599).

    Example:
        >>> from torch import tensor
        >>> calibration_error(tensor([[0.0, 0.0], [0.0, 0.0]]), tensor([0, 1]))
        0.0
    """
    error = multiclass_calibration_error(
        _probabilities(logits), targets, num_classes=logits.shape[1], n_bins=bins, norm="l1"
    )
    return error.item()


class CalibrationError(MulticlassCalibrationError):
    """`calibration_error` over batches: logits (N, K), targets (N,)."""

    def __init__(self, num_classes: int, bins: int = NUM_BINS, **kwargs: Any) -> None:
        super().__init__(num_classes, n_bins=bins, norm="l1", **kwargs)

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch of logits (N, K)."""
        super().update(_probabilities(logits), targets)


def reliability(logits: Tensor, targets: Tensor, bins: int = NUM_BINS) -> Reliability:
    """Return the accuracy at each level of confidence, for (M, K) logits and (M,) targets."""
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)  # (M,), (M,)
    index = (confidence * bins).long().clamp(max=bins - 1)
    count = torch.bincount(index, minlength=bins)
    right = torch.bincount(index, weights=(predicted == targets).double(), minlength=bins)
    claimed = torch.bincount(index, weights=confidence, minlength=bins)
    return Reliability(claimed / count, right / count, count)


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Return the fraction of images on which two sets of (M, K) logits name the same class.

    Example:
        >>> from torch import tensor
        >>> agreement(tensor([[2.0, 1.0], [0.0, 1.0]]), tensor([[0.0, 3.0], [0.0, 5.0]]))
        0.5
    """
    return _share(_names_the_same(student, teacher))


class Agreement(_MeanOverImages):
    """`agreement` over batches: two sets of logits (N, K)."""

    def score(self, logits: Tensor, other: Tensor) -> Tensor:
        """Return the score of each image of a batch, (N,)."""
        return _names_the_same(logits, other)


def divergence(student: Tensor, teacher: Tensor) -> float:
    """Return KL(teacher || student) of two sets of (M, K) logits, averaged, in nats.

    Example:
        >>> from torch import tensor
        >>> round(divergence(tensor([[2.0, 0.0]]), tensor([[0.0, 0.0]])), 4)
        0.4338
    """
    return _divergences(student.double(), teacher.double()).mean().item()


class Divergence(_MeanOverImages):
    """`divergence` over batches, in the logits' own precision: two sets of logits (N, K)."""

    def score(self, logits: Tensor, other: Tensor) -> Tensor:
        """Return the score of each image of a batch, (N,)."""
        return _divergences(logits, other)


def _share(found: Tensor) -> float:
    # In float64: torchmetrics' float32 shows as 0.8999999761581421 in the record.
    return found.double().mean().item()


def _probabilities(logits: Tensor) -> Tensor:
    # torchmetrics takes logits that happen to lie in [0, 1] for probabilities.
    return logits.float().softmax(dim=1)
