import copy

import pytest
import torch
import torch.distributed as dist

from potstill.heads.mgd import MGD, draw_mask, generation_loss
from tests.support.feature_cases import (
    bound,
    golden_maps,
    loss_of,
    t,
)


def convolve(maps, weight, bias):
    """A 3x3 convolution with a border of zeros, in plain Python, over lists (C, H, W)."""
    height, width = len(maps[0]), len(maps[0][0])

    def at(channel, y, x):
        return maps[channel][y][x] if 0 <= y < height and 0 <= x < width else 0.0

    def value(kernel, b, y, x):
        return b + sum(
            row[j] * at(c, y + i - 1, x + j - 1)
            for c, plane in enumerate(kernel)
            for i, row in enumerate(plane)
            for j in range(3)
        )

    return [
        [[value(kernel, b, y, x) for x in range(width)] for y in range(height)]
        for kernel, b in zip(weight, bias, strict=True)
    ]


@pytest.mark.parametrize("mask", ["channel", "pixel"])
def test_plain_python(mask):
    student, teacher = t((2, 3, 3, 4), 0.31, 0.1, 2.0), t((2, 3, 3, 4), 0.47, 0.2, 2.0)
    head = bound(MGD(mask_ratio=0.5, mask=mask), [student], [teacher])
    first, _, second = head.generations[0].generate
    kept = drawn_by(head, teacher, 0.5, mask)
    assert 0 < kept.sum() < kept.numel()
    total = 0.0
    for masked, wanted in zip((student * kept).tolist(), teacher.tolist(), strict=True):
        hidden = convolve(masked, first.weight.tolist(), first.bias.tolist())
        hidden = [[[max(x, 0.0) for x in row] for row in plane] for plane in hidden]
        made = convolve(hidden, second.weight.tolist(), second.bias.tolist())
        difference = torch.tensor([made, wanted], dtype=torch.float64).diff(dim=0)
        total += sum(x**2 for x in difference.flatten().tolist())
    assert loss_of(head, [student], [teacher]).item() == pytest.approx(total / 2, rel=1e-12)


def drawn_by(head, feature, ratio, mask):
    """The mask of a head's next call."""
    seen = []
    head = copy.deepcopy(head)
    head.generations[0].register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    loss_of(head, [torch.ones_like(feature)], [feature])
    return seen[0].expand_as(feature)


def test_mask_has_its_shape_and_ratio():
    generator, feature = torch.Generator().manual_seed(0), torch.zeros(50, 40, 5, 6)
    channels = draw_mask(feature, 0.15, "channel", generator)
    pixels = draw_mask(feature, 0.3, "pixel", generator)
    assert channels.shape == (50, 40, 1, 1)
    assert pixels.shape == (50, 1, 5, 6)
    assert set(channels.unique().tolist()) == {0.0, 1.0}
    assert channels.mean().item() == pytest.approx(0.85, abs=0.03)
    assert pixels.mean().item() == pytest.approx(0.7, abs=0.04)
    assert draw_mask(feature, 0.0, "channel", generator).all()


def test_loss_is_a_sum_over_the_map():
    teacher = t((4, 3, 2, 2), 0.47, 0.2)
    assert generation_loss(teacher + 0.5, teacher).item() == pytest.approx(3 * 4 * 0.25)


def test_masks_depend_on_counts_alone(monkeypatch):
    fs, ft = golden_maps()
    head = bound(MGD(mask_ratio=0.5), [fs], [ft])
    saved = []
    losses = []
    for _ in range(4):
        saved.append(copy.deepcopy(head.state_dict()))
        losses.append(loss_of(head, [fs], [ft]).item())
    assert len(set(losses)) == 4
    torch.manual_seed(99)
    head.load_state_dict(saved[2])
    assert [loss_of(head, [fs], [ft]).item() for _ in range(2)] == losses[2:]
    head.eval().load_state_dict(saved[1])
    assert [loss_of(head, [fs], [ft]).item() for _ in range(2)] == [losses[1]] * 2
    head.seed = 1
    assert loss_of(head, [fs], [ft]).item() != losses[1]
    head.seed = 0
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    assert loss_of(head, [fs], [ft]).item() != losses[1]


def test_width_is_aligned_only_where_it_differs():
    fs, ft = golden_maps()
    head = bound(MGD(), [fs], [ft])
    assert head.generations[0].align.weight.shape == (12, 6, 1, 1)
    same = bound(MGD(), [ft], [ft])
    assert len(list(same.parameters())) == 4
    assert head.weight_at(0) == 7e-5


def test_impossible_pair():
    with pytest.raises(ValueError, match=r"'level-1' \(2, 7, 3\).*7 tokens form no square map"):
        bound(MGD(), [t((2, 7, 3), 1, 1)], [t((2, 5, 2, 2), 1, 1)])


def test_settings():
    with pytest.raises(ValueError, match=r"mask_ratio must be in \[0, 1\), got 1"):
        MGD(mask_ratio=1)
    with pytest.raises(ValueError, match="got 'patch'"):
        MGD(mask="patch")
