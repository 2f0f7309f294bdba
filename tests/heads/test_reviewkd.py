import pytest
import torch

from potstill.heads.reviewkd import ABF, ReviewKD, hierarchical_context_loss
from tests.support.feature_cases import (
    bound,
    fill,
    fill_head,
    golden,
    golden_maps,
    loss_of,
    t,
)
from tests.support.tiny_nets import check_networks, cnn, vit

TWO = {"student": ("a", "pooled"), "teacher": ("b", "pooled")}


def test_official_context_loss():
    shapes = [(8, 6, 8, 8), (8, 8, 4, 4), (8, 8, 1, 1)]
    phases = [(0.3, 0.1), (0.5, 0.3), (0.7, 0.5)], [(0.4, 0.2), (0.6, 0.4), (0.8, 0.6)]
    students, teachers = (
        [t(shape, a, b) for shape, (a, b) in zip(shapes, side, strict=True)] for side in phases
    )
    losses = map(hierarchical_context_loss, students, teachers)
    assert sum(losses).item() == pytest.approx(golden("reviewkd_hcl"), rel=1e-9)


def test_official_fusion():
    abf = ABF(6, 5, 7, fuse=True).double()
    fill_head(abf)
    fs, _ = golden_maps()
    rebuilt, fused = abf(fs, t((8, 5, 4, 4), 0.33, 0.2), (8, 8))
    assert rebuilt.sum().item() == pytest.approx(golden("reviewkd_abf_out_sum"), rel=1e-9)
    assert rebuilt.square().mean().item() == pytest.approx(golden("reviewkd_abf_out_sq"), rel=1e-9)
    assert fused.square().mean().item() == pytest.approx(golden("reviewkd_abf_res_sq"), rel=1e-9)


def test_chain_goes_from_the_deepest_up():
    students = [t((4, 6, 8, 8), 0.31, 0.1), t((4, 5), 0.41, 0.2)]
    teachers = [t((4, 7, 4, 4), 0.37, 0.3), t((4, 3), 0.43, 0.4)]
    head = bound(ReviewKD(**TWO), students, teachers)
    first, last = head.abfs
    assert last.attention is None
    deep, fused = last(students[1][:, :, None, None], None, (1, 1))
    rebuilt, _ = first(students[0], fused, (4, 4))
    assert fused.shape == (4, 5, 1, 1)
    assert rebuilt.shape == teachers[0].shape
    expected = hierarchical_context_loss(deep, teachers[1][:, :, None, None])
    expected = expected + hierarchical_context_loss(rebuilt, teachers[0])
    assert loss_of(head, students, teachers).item() == pytest.approx(expected.item(), rel=1e-12)


def test_deeper_levels_reach_the_shallow_loss():
    students = [t((4, 6, 8, 8), 0.31, 0.1), t((4, 5), 0.41, 0.2).requires_grad_()]
    teachers = [t((4, 7, 4, 4), 0.37, 0.3), t((4, 3), 0.43, 0.4)]
    head = bound(ReviewKD(**TWO), students, teachers)
    _, fused = head.abfs[1](students[1][:, :, None, None], None, (1, 1))
    rebuilt, _ = head.abfs[0](students[0], fused, (4, 4))
    (grad,) = torch.autograd.grad(rebuilt.square().sum(), students[1])
    assert grad.abs().sum() > 0


def test_width_between_levels():
    students, teachers = [t((2, 6, 4, 4), 1, 0), t((2, 9), 1, 0)], [t((2, 7, 4, 4), 1, 0)] * 2
    widths = [
        bound(ReviewKD(**TWO, max_mid_channel=m), students, teachers).abfs[0].conv1[0].out_channels
        for m in (512, 4)
    ]
    assert widths == [9, 4]


def test_equal_shapes_keep_what_was_trained():
    students, teachers = [t((2, 6, 4, 4), 1, 0), t((2, 9), 1, 0)], [t((2, 7, 4, 4), 1, 0)] * 2
    head = bound(ReviewKD(**TWO), students, teachers)
    before = loss_of(head, students, teachers)
    weights = list(head.parameters())
    fill(weights)
    kept = head.abfs[0].conv1[0].weight
    bound(head, students, teachers)
    assert head.abfs[0].conv1[0].weight is kept
    assert loss_of(head, students, teachers).item() == pytest.approx(before.item(), rel=1e-12)


@pytest.mark.parametrize(("student", "teacher"), [(cnn, vit), (vit, cnn), (cnn, cnn)])
@pytest.mark.parametrize("num", [1, 3])
def test_networks(student, teacher, num):
    check_networks(ReviewKD(), student(), teacher(seed=1), num)


def test_impossible_pair():
    with pytest.raises(ValueError, match=r"'a' \(2, 7, 3\).*'b' \(2, 5, 2, 2\).*no square map"):
        bound(ReviewKD("a", "b"), [t((2, 7, 3), 1, 1)], [t((2, 5, 2, 2), 1, 1)])


def test_settings():
    with pytest.raises(ValueError, match="max_mid_channel must be positive, got 0"):
        ReviewKD(max_mid_channel=0)
