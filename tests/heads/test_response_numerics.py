"""Every response and relation head at extreme temperatures, in every precision it may meet."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from potstill.heads.base import Head
from potstill.heads.cc import CC
from potstill.heads.ctkd import CTKD
from potstill.heads.dist import DIST
from potstill.heads.dkd import DKD
from potstill.heads.hard_label import HardLabel
from potstill.heads.kd import KD
from potstill.heads.lskd import LSKD
from potstill.heads.mlkd import MLKD
from potstill.heads.mse import MSE
from potstill.heads.nkd import NKD
from potstill.heads.pkt import PKT
from potstill.heads.rkd import RKD
from potstill.heads.wkd_l import WKD_L
from potstill.heads.wsld import WSLD
from potstill.models.features.outputs import ModelOutputs


def wkd_l(temperature: float) -> WKD_L:
    head = WKD_L(temperature)
    teacher = nn.Linear(12, 10, dtype=torch.float64)
    with torch.no_grad():
        teacher.weight.copy_(torch.arange(120).reshape(10, 12).sin())
    head.attach(nn.Identity(), teacher)
    return head


TEMPERED: dict[str, Callable[[float], Head]] = {
    "kd": KD,
    "dkd": DKD,
    "dist": lambda t: DIST(tau=t),
    "lskd": LSKD,
    "lsdkd": lambda t: LSKD(t, base="dkd"),
    "nkd": lambda t: NKD(temperature=t),
    "nkd_official_code": lambda t: NKD(temperature=t, formula="official_code"),
    "mlkd": lambda t: MLKD([t]),
    "mlkd_paper": lambda t: MLKD([t], formula="paper"),
    "wsld": WSLD,
    "wkd_l": wkd_l,
}
OTHERS: dict[str, Callable[[], Head]] = {
    "ctkd": CTKD,
    "mse": MSE,
    "hard_label": HardLabel,
    "rkd": RKD,
    "cc": lambda: CC(embed_dim=None),
    "pkt": PKT,
}
HALVES_AND_FLOAT = [torch.float16, torch.bfloat16, torch.float32]
FLOAT_EPS = torch.finfo(torch.float32).eps


def draw(dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return logits of two views and features of both networks, of standard deviation 8."""
    torch.manual_seed(3)
    sizes = [(16, 10)] * 4 + [(16, 12)] * 2
    return tuple((8 * torch.randn(size, dtype=torch.float64)).to(dtype) for size in sizes)


def run(head: Head, tensors: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
    """Return the loss and its gradients by the student's logits, strong logits and features."""
    zs, zt, zs2, zt2, fs, ft = tensors
    ours = [x.clone().requires_grad_() for x in (zs, zs2, fs)]
    student = ModelOutputs(ours[0], {"pooled": ours[2]}, views=(ModelOutputs(ours[1]),))
    teacher = ModelOutputs(zt, {"pooled": ft}, views=(ModelOutputs(zt2),))
    loss = head(student, teacher, torch.arange(len(zs)) % zs.shape[1])
    grads = torch.autograd.grad(loss, ours, allow_unused=True)
    return loss, [grad for grad in grads if grad is not None]


def check(make: Callable[[], Head], dtype: torch.dtype, temperature: float) -> None:
    """Compare with float64 on the same rounded inputs.

    What float32 may cost: logits of size z over T carry a rounding error of z / T, a divergence
    of T^2 * q log(q / p) one of T^2 (times a beta of 8) however small it is, its gradient T.
    """
    tensors = draw(dtype)
    loss, grads = run(make(), tensors)
    exact, exact_grads = run(make().double(), tuple(x.double() for x in tensors))
    working = 16 * FLOAT_EPS * max(1.0, tensors[0].abs().max().item() / temperature)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(
        exact.item(), rel=working, abs=16 * FLOAT_EPS * temperature**2
    )
    assert grads
    for grad, reference in zip(grads, exact_grads, strict=True):
        assert grad.dtype == dtype
        assert grad.isfinite().all()
        atol = (torch.finfo(dtype).eps + working) * reference.abs().max().item()
        atol += FLOAT_EPS * temperature + torch.finfo(dtype).smallest_normal
        torch.testing.assert_close(grad.double(), reference, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", HALVES_AND_FLOAT, ids=str)
@pytest.mark.parametrize("temperature", [0.05, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("name", TEMPERED)
def test_tempered_heads_keep_the_digits_of_their_input(name, temperature, dtype):
    check(lambda: TEMPERED[name](temperature), dtype, temperature)


@pytest.mark.parametrize("dtype", HALVES_AND_FLOAT, ids=str)
@pytest.mark.parametrize("name", OTHERS)
def test_other_heads_keep_the_digits_of_their_input(name, dtype):
    check(OTHERS[name], dtype, 4.0)


def degenerate(case: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
    tensors = draw(dtype)
    if case == "batch of one":
        return tuple(x[:1] for x in tensors)
    if case == "identical rows":
        return tuple(x[:1].expand(16, -1) for x in tensors)
    if case == "identical rows of the student":
        return tuple(x if i in (1, 3, 5) else x[:1].expand(16, -1) for i, x in enumerate(tensors))
    constant = {"zeros": 0.0, "constant": 0.3}[case]
    return tuple(torch.full_like(x, constant) for x in tensors)


CASES = ["batch of one", "identical rows", "identical rows of the student", "zeros", "constant"]


@pytest.mark.parametrize("dtype", HALVES_AND_FLOAT, ids=str)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [*TEMPERED, *OTHERS])
def test_degenerate_batches_stay_finite(name, case, dtype):
    head = TEMPERED[name](4.0) if name in TEMPERED else OTHERS[name]()
    loss, grads = run(head, degenerate(case, dtype))
    assert loss.isfinite()
    assert all(grad.isfinite().all() for grad in grads)
