"""Validation metrics against scikit-learn and scipy, over uneven batches."""

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import entropy
from sklearn.metrics import accuracy_score

from potstill.tasks.classification import Classification
from potstill.tasks.validation import Validation


def test_metrics_of_uneven_batches():
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, 50, 4, generator=generator)
    target = torch.randint(4, (50,), generator=generator)
    validation = Validation(Classification(), 4, has_teacher=True)
    for part in (slice(0, 32), slice(32, 50)):
        loss = F.cross_entropy(logits[part], target[part])
        validation.update(logits[part], target[part], loss, teacher[part])
    found = {name: value.item() for name, value in validation.finish().items()}
    predicted, theirs = logits.argmax(1), teacher.argmax(1)
    divergence = entropy(teacher.double().softmax(1), logits.double().softmax(1), axis=1).mean()
    assert found["val/accuracy"] == pytest.approx(accuracy_score(target, predicted))
    assert found["val/agreement"] == pytest.approx(accuracy_score(theirs, predicted))
    assert found["val/teacher_kl"] == pytest.approx(divergence, rel=1e-5)
    assert found["val/loss"] == pytest.approx(F.cross_entropy(logits, target).item(), rel=1e-5)
    confidence, right = logits.softmax(1).max(1).values, (predicted == target).float()
    bins = (confidence * 15).long()
    gaps = [
        (bins == b).float().mean() * (confidence[bins == b].mean() - right[bins == b].mean()).abs()
        for b in bins.unique()
    ]
    assert found["val/ece"] == pytest.approx(sum(gaps).item(), rel=1e-4)


def test_finishing_starts_anew():
    validation = Validation(Classification(), 2, has_teacher=False)
    wrong, right = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    validation.update(wrong, torch.tensor([1]), torch.tensor(1.0), None)
    assert validation.finish()["val/accuracy"].item() == 0
    validation.update(right, torch.tensor([1]), torch.tensor(0.0), None)
    assert validation.finish()["val/accuracy"].item() == 1
