import pytest
import torch

from potstill.heads.fitnet import FitNet, hint_loss
from tests.support.feature_cases import (
    bound,
    golden,
    golden_maps,
    loss_of,
    t,
    two_maps,
)


def test_official_value():
    student, teacher = golden_maps()
    head = bound(FitNet(), [student], [teacher])
    assert loss_of(head, [student], [teacher]).item() == pytest.approx(
        golden("fitnet_mse"), rel=1e-9
    )


def test_hint_loss_is_the_mean_over_all_values():
    ours, theirs = t((2, 2, 1, 2), 0.3, 0.1), t((2, 2, 1, 2), 0.5, 0.2)
    pairs = zip(ours.flatten().tolist(), theirs.flatten().tolist(), strict=True)
    assert hint_loss(ours, theirs).item() == pytest.approx(sum((a - b) ** 2 for a, b in pairs) / 8)


def test_pairs_are_summed():
    students, teachers = two_maps()
    both = bound(FitNet(["a", "b"], ["c", "d"]), students, teachers)
    parts = []
    for index in range(2):
        single = FitNet("a", "c")
        single.adapters.append(both.adapters[index])
        parts.append(loss_of(single, [students[index]], [teachers[index]]).item())
    assert loss_of(both, students, teachers).item() == pytest.approx(sum(parts), rel=1e-12)


def test_without_relu_negative_hints_can_be_met():
    student = t((4, 3, 4, 4), 0.37, 0.1)
    head = bound(FitNet(relu=False), [student], [student])
    hint = head.adapters[0](student).detach()
    assert hint.min() < 0
    assert loss_of(head, [student], [hint]).item() == pytest.approx(0, abs=1e-20)
    head.relu = head.adapters[0].relu = True
    assert loss_of(head, [student], [hint]).item() == pytest.approx(
        hint.clamp_max(0).square().mean().item()
    )


def test_one_pooled_vector_in_training():
    student, teacher = t((1, 3), 0.3, 0.1), t((1, 5), 0.4, 0.2)
    head = bound(FitNet("pooled", "pooled"), [student], [teacher])
    regressor = head.adapters[0]
    out = regressor.conv.weight[:, :, 0, 0] @ student[0] + regressor.conv.bias
    out = (out / (1 + 1e-5) ** 0.5 * regressor.bn.weight + regressor.bn.bias).clamp_min(0)
    expected = (out - teacher[0]).square().mean().item()
    assert loss_of(head, [student], [teacher]).item() == pytest.approx(expected, rel=1e-9)


def test_regressor_is_trained():
    student, teacher = golden_maps()
    head = bound(FitNet(), [student], [teacher])
    loss_of(head, [student], [teacher]).backward()
    assert all(p.grad is not None for p in head.parameters())
    assert head.adapters[0].conv.weight.grad.abs().max() > 0
    assert torch.equal(head.adapters[0].bn.num_batches_tracked, torch.tensor(1))
