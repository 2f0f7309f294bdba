"""Scores of logits against scikit-learn, SciPy and loops in plain Python."""

import math

import pytest
import torch
from scipy.special import rel_entr, softmax
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from potstill.measure.metrics import (
    Accuracy,
    Agreement,
    CalibrationError,
    Divergence,
    accuracy,
    agreement,
    calibration_error,
    class_accuracy,
    divergence,
    reliability,
)


def sample(num_images=300, num_classes=7, sharpness=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, num_classes - 1, (num_images,), generator=generator)  # last: unseen
    logits = torch.randn(num_images, num_classes, generator=generator)
    logits[torch.arange(num_images), targets] += 1.0
    return sharpness * logits, targets


def plain_calibration_error(logits, targets, bins):
    probabilities = softmax(logits.double().numpy(), axis=1)
    members = [[] for _ in range(bins)]
    for row, target in zip(probabilities, targets.tolist(), strict=True):
        confidence = row.max()
        members[min(int(confidence * bins), bins - 1)].append((confidence, row.argmax() == target))
    gaps = [abs(sum(c for c, _ in bin_) - sum(right for _, right in bin_)) for bin_ in members]
    return sum(gaps) / len(targets)


def test_accuracy_is_scikit_learns():
    logits, targets = sample()
    predicted = logits.argmax(dim=1)
    assert accuracy(logits, targets) == sklearn_metrics.accuracy_score(targets, predicted)


@pytest.mark.parametrize("bins", [15, 4])
@pytest.mark.parametrize("sharpness", [0.5, 2.0, 20.0])
def test_calibration_error_is_the_plain_loops(sharpness, bins):
    logits, targets = sample(sharpness=sharpness)
    expected = plain_calibration_error(logits, targets, bins)
    assert calibration_error(logits, targets, bins) == pytest.approx(expected, abs=1e-6)


def test_logits_between_0_and_1_are_not_taken_for_probabilities():
    logits, targets = sample()
    logits = (logits - logits.min()) / (logits.max() - logits.min())
    expected = plain_calibration_error(logits, targets, 15)
    assert calibration_error(logits, targets) == pytest.approx(expected, abs=1e-6)


def test_reliability_holds_the_calibration_error_and_scikit_learns_curve():
    logits, targets = sample()
    bins = reliability(logits, targets)
    gaps = bins.count * (bins.accuracy - bins.confidence).abs()
    assert gaps.nansum().item() / 300 == pytest.approx(
        plain_calibration_error(logits, targets, 15), abs=1e-9
    )
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    # Its curve leaves empty bins out, ours keeps them as NaN.
    right, claimed = calibration_curve(predicted == targets, confidence, n_bins=15)
    filled = bins.count > 0
    assert bins.accuracy[filled].tolist() == pytest.approx(right.tolist())
    assert bins.confidence[filled].tolist() == pytest.approx(claimed.tolist())
    assert bins.accuracy[~filled].isnan().all()


def test_full_confidence_falls_into_the_last_bin():
    bins = reliability(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
    assert bins.count.tolist() == [0] * 14 + [1]


def test_divergence_is_scipys_from_teacher_to_student():
    student, teacher = sample(seed=0)[0], sample(seed=1)[0]
    p, q = softmax(teacher.double().numpy(), axis=1), softmax(student.double().numpy(), axis=1)
    assert divergence(student, teacher) == pytest.approx(rel_entr(p, q).sum(axis=1).mean())
    assert divergence(student, student) == 0.0


def test_divergence_survives_sharp_logits():
    sharp = torch.tensor([[200.0, 0.0]])
    assert divergence(-sharp, sharp) == pytest.approx(200.0)
    assert math.isfinite(divergence(sharp, torch.zeros(1, 2)))


def test_agreement_counts_the_same_first_choice():
    student = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 9.0], [0.0, 1.0]])
    teacher = torch.tensor([[9.0, 0.0], [0.0, 9.0], [0.0, 1.0], [9.0, 0.0], [0.0, 1.0]])
    assert agreement(student, teacher) == 0.6


def test_half_precision_is_scored_like_what_it_holds():
    logits, targets = sample()
    half = logits.half()
    assert calibration_error(half, targets) == calibration_error(half.float(), targets)
    assert divergence(half, half * 2) == divergence(half.float(), half.float() * 2)


def test_accuracy_by_class_with_one_that_has_no_image():
    logits = torch.eye(3)[[0, 1, 1, 1]]
    found = class_accuracy(logits, torch.tensor([0, 0, 1, 1]))
    assert found[:2].tolist() == [0.5, 1.0]
    assert found[2].isnan()


@pytest.mark.parametrize("parts", [(300,), (128, 128, 44)])
def test_modules_over_batches_are_the_functions(parts):
    logits, targets = sample()
    teacher, _ = sample(seed=1)
    pairs = [
        (Accuracy(), accuracy, targets),
        (CalibrationError(num_classes=7), calibration_error, targets),
        (Agreement(), agreement, teacher),
        (Divergence(), divergence, teacher),
    ]
    for module, function, other in pairs:
        for ours, theirs in zip(logits.split(parts), other.split(parts), strict=True):
            module.update(ours, theirs)
        assert module.compute().item() == pytest.approx(function(logits, other), rel=1e-5)


def test_a_module_takes_no_logits_for_probabilities():
    logits, targets = torch.tensor([[0.2, 0.9], [0.6, 0.1]]), torch.tensor([1, 1])
    module = CalibrationError(num_classes=2)
    module.update(logits, targets)
    expected = plain_calibration_error(logits, targets, 15)
    assert module.compute().item() == pytest.approx(expected, abs=1e-6)
