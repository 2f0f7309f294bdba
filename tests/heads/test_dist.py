import numpy as np
import pytest
import torch

from potstill.heads.dist import DIST, intra_class_relation, pearson
from tests.support.response_inputs import ZS, ZT, check_logit_gradient, golden, value


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (DIST(), "dist_b1_g1_tau4"),
        (DIST(tau=1), "dist_b1_g1_tau1"),
        (DIST(gamma=0, tau=1), "dist_inter_tau1"),
        (DIST(beta=0, tau=1), "dist_intra_tau1"),
    ],
)
def test_official_value(head, name):
    assert value(head) == pytest.approx(golden(name), rel=1e-9)


def test_gradient():
    check_logit_gradient(DIST())


def test_pearson_is_numpys():
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(ZS.numpy(), ZT.numpy(), strict=True)]
    assert pearson(ZS, ZT).numpy() == pytest.approx(np.array(expected), abs=1e-8)


def test_scale_and_shift_of_probabilities_change_nothing():
    p, q = ZS.softmax(1), ZT.softmax(1)
    assert intra_class_relation(3 * p + 1, q).item() == pytest.approx(
        intra_class_relation(p, q).item(), rel=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rows_alike_but_for_rounding_get_no_gradient(dtype):
    """Noise of 1e-9 over itself plus 1e-8 would give gradients of 1e7."""
    logits = torch.full((6, 7), 0.3, dtype=dtype, requires_grad=True)
    teacher = ZT[:6, :7].to(dtype)
    p, q = logits.float().softmax(1), teacher.float().softmax(1)
    loss = 1 - pearson(p.T, q.T).mean()
    loss.backward()
    assert loss.item() == 1.0
    assert logits.grad.abs().max() == 0
