"""Accuracy, calibration and agreement of networks, from the logits of a data set."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional import kl_divergence
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

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


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """Return the fraction of (M, K) logits whose largest entry is at `targets` (M,)."""
    return _fraction_equal(logits.argmax(dim=1), targets)


def confusion_matrix(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the (K, K) counts: a row for each true class, a column for each predicted one."""
    return multiclass_confusion_matrix(logits, targets, num_classes=logits.shape[1])


def class_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the accuracy on each class, (K,) float64, NaN for one that has no image."""
    counts = confusion_matrix(logits, targets).double()
    return counts.diagonal() / counts.sum(dim=1)


def calibration_error(logits: Tensor, targets: Tensor, bins: int = NUM_BINS) -> float:
    """Return the expected calibration error, 0 to 1 (Guo et al. 2017, arXiv:1706.04599)."""
    # torchmetrics takes logits that happen to lie in [0, 1] for probabilities.
    probabilities = logits.float().softmax(dim=1)
    error = multiclass_calibration_error(
        probabilities, targets, num_classes=logits.shape[1], n_bins=bins, norm="l1"
    )
    return error.item()


def reliability(logits: Tensor, targets: Tensor, bins: int = NUM_BINS) -> Reliability:
    """Return the accuracy at each level of confidence, for (M, K) logits and (M,) targets."""
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)  # (M,), (M,)
    index = (confidence * bins).long().clamp(max=bins - 1)
    count = torch.bincount(index, minlength=bins)
    right = torch.bincount(index, weights=(predicted == targets).double(), minlength=bins)
    claimed = torch.bincount(index, weights=confidence, minlength=bins)
    return Reliability(claimed / count, right / count, count)


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Return the fraction of images on which two sets of (M, K) logits name the same class."""
    return _fraction_equal(student.argmax(dim=1), teacher.argmax(dim=1))


def divergence(student: Tensor, teacher: Tensor) -> float:
    """Return KL(teacher || student) of two sets of (M, K) logits, averaged, in nats."""
    log_p = teacher.double().log_softmax(dim=1)
    log_q = student.double().log_softmax(dim=1)
    return kl_divergence(log_p, log_q, log_prob=True).item()


def _fraction_equal(ours: Tensor, theirs: Tensor) -> float:
    # In float64: torchmetrics' float32 shows as 0.8999999761581421 in the record.
    return (ours == theirs).double().mean().item()
