import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from potstill.errors import ConfigError
from potstill.heads.nkd import target_term
from potstill.heads.wkd_l import WKD_L, class_cost, sinkhorn_distance
from tests.support.response_inputs import ZS, ZT, Y, check_logit_gradient, signal, t

WEIGHT = t((10, 12), 0.31, 0.2)


def attached(**settings) -> WKD_L:
    teacher = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 10)).double()
    with torch.no_grad():
        teacher[2].weight.copy_(WEIGHT)
    head = WKD_L(**settings)
    head.attach(nn.Identity(), teacher)
    return head


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def plain_sinkhorn(p, q, cost, reg, iterations) -> float:
    n = range(len(p))
    kernel = [[math.exp(-cost[i][j] / reg) for j in n] for i in n]
    u = [1.0 / len(p) for _ in n]
    for _ in range(iterations):
        v = [q[j] / sum(kernel[i][j] * u[i] for i in n) for j in n]
        u = [p[i] / sum(kernel[i][j] * v[j] for j in n) for i in n]
    return sum(u[i] * kernel[i][j] * v[j] * cost[i][j] for i in n for j in n)


def test_loss_by_plain_sinkhorn():
    head = attached()
    cost, transported = head.cost.tolist(), 0.0
    for s, q, y in zip(ZS.tolist(), ZT.tolist(), Y.tolist(), strict=True):
        keep = [i for i in range(10) if i != y]
        kept_cost = [[cost[i][j] for j in keep] for i in keep]
        p_s, p_t = (softmax([z[i] / 2 for i in keep]) for z in (s, q))
        transported += plain_sinkhorn(p_s, p_t, kept_cost, 0.05, 10) / len(Y)
    expected = target_term(ZS, ZT, Y).item() + 10 * transported
    assert head(signal(ZS), signal(ZT), Y).item() == pytest.approx(expected, rel=1e-10)


def test_gradient():
    check_logit_gradient(attached(iterations=4))


def exact_transport(p: np.ndarray, q: np.ndarray, cost: np.ndarray) -> float:
    n = len(p)
    rows = np.kron(np.eye(n), np.ones(n))
    columns = np.kron(np.ones(n), np.eye(n))
    marginals = np.concatenate([p, q])
    return linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=marginals).fun


def test_converges_to_the_exact_transport_cost():
    cost, p, q = class_cost(WEIGHT, "cosine", 1.0), ZS.softmax(1)[:3], ZT.softmax(1)[:3]
    found = sinkhorn_distance(p.log(), q.log(), cost, 0.02, 400)
    for row in range(3):
        exact = exact_transport(p[row].numpy(), q[row].numpy(), cost.numpy())
        assert exact - 1e-4 <= found[row].item() <= exact + 0.02


def test_distance_between_certainties_is_the_cost():
    cost = class_cost(WEIGHT, "cosine", 1.0)
    log_p = torch.full((1, 10), -torch.inf, dtype=torch.float64)
    log_q = log_p.clone()
    log_p[0, 2], log_q[0, 7] = 0.0, 0.0
    distance = sinkhorn_distance(log_p, log_q, cost, 0.05, 2)
    assert distance.item() == pytest.approx(cost[2, 7].item(), rel=1e-12)


def test_cost_is_that_of_numpy():
    weight = WEIGHT.numpy()
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    cosine = 1 - np.exp(-2 * (1 - unit @ unit.T))
    assert class_cost(WEIGHT, "cosine", 2.0).numpy() == pytest.approx(cosine, abs=1e-12)
    cka = 1 - np.exp(-2 * (1 - np.corrcoef(weight) ** 2))
    assert class_cost(WEIGHT, "cka", 2.0).numpy() == pytest.approx(cka, abs=1e-12)


def test_cost_is_no_part_of_a_checkpoint():
    assert attached().state_dict() == {}


def test_teacher_without_linear_classifier():
    with pytest.raises(ConfigError, match="no linear classifier"):
        WKD_L().attach(nn.Identity(), nn.Conv2d(3, 10, 1))


@pytest.mark.parametrize(
    "settings", [{"relation": "l2"}, {"sinkhorn_lambda": 0.001}, {"iterations": 0}, {"kappa": 0}]
)
def test_impossible_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        WKD_L(**settings)
