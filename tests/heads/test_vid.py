import math

import pytest
import torch

from potstill.heads.vid import VID, vid_loss
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
    head = bound(VID("a", "b"), [student], [teacher])
    # The official log_scale is kept in double precision from the start.
    torch.nn.init.constant_(head.adapters[0].log_scale, math.log(math.exp(5.0 - 1e-5) - 1))
    assert loss_of(head, [student], [teacher]).item() == pytest.approx(golden("vid"), rel=1e-9)


def test_loss_is_a_gaussians_negative_log_likelihood():
    mean, target = t((2, 3, 2, 2), 0.3, 0.1), t((2, 3, 2, 2), 0.5, 0.2)
    variance = torch.tensor([0.5, 2.0, 5.0], dtype=torch.float64)[None, :, None, None]
    normal = torch.distributions.Normal(mean, variance.sqrt().expand_as(mean))
    expected = -normal.log_prob(target).mean() - 0.5 * math.log(2 * math.pi)
    assert vid_loss(mean, target, variance).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("init_var", [0.01, 5.0, 50.0])
def test_variance_starts_where_asked(init_var):
    student, teacher = golden_maps()
    head = bound(VID("a", "b", init_var=init_var), [student], [teacher])
    _, variance = head.adapters[0](student)
    assert variance.shape == (1, 12, 1, 1)
    assert variance.flatten().tolist() == pytest.approx([init_var] * 12, rel=1e-5)


def test_a_step_moves_each_variance_towards_its_channels_error():
    student, teacher = golden_maps()
    head = bound(VID("a", "b"), [student], [teacher])
    gaussian = head.adapters[0]
    assert any(p is gaussian.log_scale for p in head.parameters())
    teacher = teacher.clone()
    teacher[:, 0] += 10.0  # error 100 or so, above the variance of 5; elsewhere below it
    loss_of(head, [student], [teacher]).backward()
    before = gaussian.log_scale.detach().clone()
    torch.optim.SGD(head.parameters(), lr=0.1).step()
    moved = gaussian.log_scale.detach() - before
    assert moved[0] > 0
    assert (moved[1:] < 0).all()


def test_pairs_are_summed_and_a_smaller_student_is_no_obstacle():
    students, teachers = two_maps()
    head = bound(VID(["a", "b"], ["d", "c"]), students, teachers[::-1])
    expected = 0.0
    for gaussian, ours, theirs in [
        (head.adapters[0], torch.nn.functional.avg_pool2d(students[0], 2), teachers[1]),
        (head.adapters[1], students[1], torch.nn.functional.avg_pool2d(teachers[0], 2)),
    ]:
        mean, variance = gaussian(ours)
        expected += vid_loss(mean, theirs, variance).item()
    got = loss_of(head, students, teachers[::-1]).item()
    assert got == pytest.approx(expected, rel=1e-12)


def test_keys_are_the_papers_names():
    student, teacher = golden_maps()
    head = bound(VID("a", "b"), [student], [teacher])
    regressor = [f"adapters.0.regressor.{index}.weight" for index in (0, 2, 4)]
    assert list(head.state_dict()) == ["adapters.0.log_scale", *regressor]


def test_a_variance_below_eps_is_refused():
    with pytest.raises(ValueError, match=r"eps=0\.1, init_var=0\.05"):
        VID(init_var=0.05, eps=0.1)
