import math

import pytest
import torch

from potstill.heads.wsld import WSLD, soft_label_weight, wsld_loss
from tests.support.response_inputs import ZS, ZT, Y, signal


def log_softmax(values: list[float]) -> list[float]:
    log_sum = max(values) + math.log(sum(math.exp(v - max(values)) for v in values))
    return [v - log_sum for v in values]


def test_formula_by_hand():
    total, temperature = 0.0, 2.0
    for s, q, y in zip(ZS.tolist(), ZT.tolist(), Y.tolist(), strict=True):
        ratio = -log_softmax(s)[y] / (-log_softmax(q)[y] + 1e-7)
        soft_q = [math.exp(v) for v in log_softmax([v / temperature for v in q])]
        soft_s = log_softmax([v / temperature for v in s])
        cross = -sum(b * a for a, b in zip(soft_s, soft_q, strict=True))
        total += (1 - math.exp(-ratio)) * temperature**2 * cross
    loss = WSLD()(signal(ZS), signal(ZT), Y)
    assert loss.item() == pytest.approx(total / len(Y), rel=1e-9)
    assert WSLD().weight_at(0) == 2.5


def test_gradient_leaves_the_weights_alone():
    logits = ZS.clone().requires_grad_()
    WSLD()(signal(logits), signal(ZT), Y).backward()
    weight = soft_label_weight(ZS, ZT, Y)[:, None]
    expected = weight * 2 * ((ZS / 2).softmax(1) - (ZT / 2).softmax(1)) / len(Y)
    torch.testing.assert_close(logits.grad, expected, rtol=1e-9, atol=1e-12)


def test_weight_keeps_its_digits_where_both_are_sure():
    """-log_softmax is 0 in float32 from a gap of 17 on."""
    student, teacher = torch.tensor([[18.0, 0.0]]), torch.tensor([[16.5, 0.0]])
    label = torch.tensor([0])
    ours, theirs = (math.log1p(math.exp(-gap)) for gap in (18.0, 16.5))
    expected = 1 - math.exp(-ours / (theirs + 1e-7))
    assert soft_label_weight(student, teacher, label).item() == pytest.approx(expected, rel=1e-5)
    assert wsld_loss(student, teacher, label, 2.0) > 0
