"""WKD-L, Wasserstein distance between logits (Lv et al. 2024, arXiv:2412.08139)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError
from potstill.heads.base import Head, check_temperature
from potstill.heads.common.non_target import labels
from potstill.heads.common.schedules import Schedule, value_at
from potstill.heads.nkd import target_term
from potstill.models.features.outputs import ModelOutputs

RELATIONS = ("cosine", "cka")
MIN_LAMBDA = 0.02  # exp(-1 / 0.02) is still a normal float32


def class_cost(weight: Tensor, relation: str, kappa: float) -> Tensor:
    """Return the cost (K, K) of moving probability between classes, in [0, 1).

    It is 1 - exp(-kappa * (1 - relation)), of the rows of a classifier's weight (K, D):
    "cosine" of two rows, or their linear "cka", which is the squared correlation.

    Example:
        >>> from torch import eye
        >>> class_cost(eye(2), relation="cosine", kappa=1.0).float()
        tensor([[0.0000, 0.6321],
                [0.6321, 0.0000]])
    """
    rows = weight.detach().double()
    if relation == "cka":
        rows = rows - rows.mean(1, keepdim=True)
    rows = F.normalize(rows, dim=1)
    related = rows @ rows.T
    related = related.square() if relation == "cka" else related
    distance = (1 - related).clamp(min=0).fill_diagonal_(0)
    return -torch.expm1(-kappa * distance)


def _log_apply(kernel: Tensor, log_value: Tensor) -> Tensor:
    """Return log(kernel @ value) for each row of log values (N, K), scaled so as not to vanish."""
    peak = log_value.amax(1, keepdim=True)
    return peak + ((log_value - peak).exp() @ kernel.T).log()


def sinkhorn_distance(
    log_p: Tensor, log_q: Tensor, cost: Tensor, sinkhorn_lambda: float, iterations: int
) -> Tensor:
    """Return the transport cost from p to q after Sinkhorn's iterations, (N,).

    log_p and log_q are (N, K), -inf where a class has no mass; cost is (K, K), in [0, 1].
    The plan's first marginal is p exactly, the second is q up to convergence.
    """
    kernel = (-cost / sinkhorn_lambda).exp()
    log_u = torch.zeros_like(log_p).masked_fill(log_p.isneginf(), -torch.inf)
    log_v = log_u
    for _ in range(iterations):
        log_v = log_q - _log_apply(kernel.T, log_u)
        log_u = log_p - _log_apply(kernel, log_v)
    peak = log_v.amax(1, keepdim=True)
    moved = (log_v - peak).exp() @ (kernel * cost).T
    return ((log_u + peak).exp() * moved).sum(1)


def wkd_l_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    cost: Tensor,
    temperature: float,
    gamma: float,
    sinkhorn_lambda: float,
    iterations: int,
) -> Tensor:
    """Return NKD's target term + gamma * transport cost over the other classes, batch average.

    Logits are (N, K). The label's mass is set to 0, which takes its row and column out of the
    transport with one cost matrix for the whole batch.
    """
    label = F.one_hot(labels(target), student.shape[1]).bool()
    log_p = F.log_softmax((student / temperature).masked_fill(label, -torch.inf), dim=1)
    log_q = F.log_softmax((teacher / temperature).masked_fill(label, -torch.inf), dim=1)
    moved = sinkhorn_distance(log_p, log_q, cost, sinkhorn_lambda, iterations)
    return target_term(student, teacher, target) + gamma * moved.mean()


class WKD_L(Head):
    """Move the student's probability to the teacher's, cheaply between classes that are alike.

    The paper's class relation is the CKA of each class's features over the training set. A head
    runs no network, so the teacher's classifier weight stands for them, as in the authors' code
    with COST_MATRIX "fc" (cosine).

    Args:
        temperature: of the transported probabilities; the target term has 1.
        gamma: of the transport; the authors' weight 10 leaves the target term alone.
        sinkhorn_lambda: entropic regularization, at least 0.02; the cost is below 1.
        iterations: of Sinkhorn.
        relation: "cosine" or "cka".
        kappa: how sharply cost rises with unlikeness.
        weight: a number or a schedule, over both terms; None for 1.
    """

    needs_labels: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {
        "gamma": "[0, inf)",
        "sinkhorn_lambda": "[0.02, inf)",
        "iterations": "[1, inf)",
        "relation": RELATIONS,
        "kappa": "(0, inf)",
    }

    def __init__(
        self,
        temperature: float | Schedule = 2.0,
        gamma: float = 10.0,
        sinkhorn_lambda: float = 0.05,
        iterations: int = 10,
        relation: str = "cosine",
        kappa: float = 1.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight)
        check_temperature(temperature)
        if relation not in RELATIONS:
            raise ValueError(f"relation={relation}: unknown. Fix: one of {', '.join(RELATIONS)}")
        if sinkhorn_lambda < MIN_LAMBDA or iterations < 1 or kappa <= 0:
            raise ValueError(
                f"sinkhorn_lambda={sinkhorn_lambda}, iterations={iterations}, kappa={kappa}: "
                f"Fix: at least {MIN_LAMBDA}, at least 1, positive"
            )
        self.temperature, self.gamma = temperature, gamma
        self.sinkhorn_lambda, self.iterations = sinkhorn_lambda, iterations
        self.relation, self.kappa = relation, kappa
        self.cost: Tensor
        self.register_buffer("cost", torch.empty(0), persistent=False)

    def attach(self, student: nn.Module, teacher: nn.Module, targets: Tensor | None = None) -> None:
        """Take the class relation from the teacher's last linear layer.

        Raises:
            ConfigError: if the teacher has none.
        """
        linear = [layer for layer in teacher.modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise ConfigError("head=wkd_l: the teacher has no linear classifier. Fix: another head")
        self.cost = class_cost(linear[-1].weight, self.relation, self.kappa)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the target term + gamma * transport cost, a scalar; `attach` comes first."""
        return wkd_l_loss(
            student.logits,
            teacher.logits,
            target,
            self.cost.to(student.logits.dtype),
            value_at(self.temperature, self.epoch),
            self.gamma,
            self.sinkhorn_lambda,
            self.iterations,
        )
