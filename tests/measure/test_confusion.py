"""Sparse confusion counts against scikit-learn's matrix."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from potstill.measure.confusion import of_matrix
from potstill.measure.metrics import confusion


def sample(classes, images):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, classes, generator=generator)
    return logits, torch.randint(classes, (images,), generator=generator)


def by_sklearn(logits, targets):
    labels = range(logits.shape[1])
    return sklearn_metrics.confusion_matrix(targets, logits.argmax(dim=1), labels=labels)


def test_counts_are_scikit_learns():
    logits, targets = sample(7, 200)
    found, expected = confusion(logits, targets), by_sklearn(logits, targets)
    assert found.matrix().tolist() == expected.tolist()
    assert (found.num_classes, found.num_images, found.left_out) == (7, 200, 0)
    assert found == of_matrix(expected.tolist())


def test_rows_are_true_classes():
    found = confusion(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([2]))
    assert found.matrix().tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_only_the_most_frequent_pairs_are_kept():
    logits, targets = sample(5, 300)
    found, expected = confusion(logits, targets, most=4), by_sklearn(logits, targets)
    wrong = expected - np.diag(expected.diagonal())
    assert found.images == sorted(wrong.ravel().tolist())[::-1][:4]
    assert found.left_out == wrong.sum() - sum(found.images)
    assert found.support == expected.sum(axis=1).tolist()


@pytest.mark.parametrize("most", [10, 4, 3])
def test_neighbouring_classes_share_a_row(most):
    logits, targets = sample(10, 500)
    step = -(-10 // most)
    grouped = sklearn_metrics.confusion_matrix(targets // step, logits.argmax(dim=1) // step)
    assert confusion(logits, targets).matrix(most).tolist() == grouped.tolist()
