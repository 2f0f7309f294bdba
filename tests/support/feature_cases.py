"""Inputs and checks shared by the tests of feature heads."""

import copy
import math

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from potstill.heads.base import Head
from potstill.models.features.outputs import ModelOutputs
from tests.support.golden import GOLDEN as GOLDEN
from tests.support.golden import golden as golden
from tests.support.places import ROOT

DTYPES = [torch.float16, torch.bfloat16, torch.float32]
CASES = ["random", "constant", "zeros", "one", "identical"]


def t(shape: tuple[int, ...], a: float, b: float, s: float = 1.0) -> Tensor:
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    return (s * torch.sin(a * index + b)).reshape(shape)


def golden_maps() -> tuple[Tensor, Tensor]:
    return t((8, 6, 8, 8), 0.31, 0.1).relu(), t((8, 12, 4, 4), 0.47, 0.2).relu()


def two_maps() -> tuple[list[Tensor], list[Tensor]]:
    students = [t((8, 4, 8, 8), 0.3, 0.1), t((8, 6, 4, 4), 0.4, 0.2)]
    return students, [t((8, 4, 8, 8), 0.5, 0.3), t((8, 6, 4, 4), 0.6, 0.4)]


@torch.no_grad()
def fill(tensors: list[Tensor]) -> None:
    for k, tensor in enumerate(tensors):
        index = torch.arange(tensor.numel(), dtype=torch.float64)
        tensor.copy_((0.1 * torch.sin(0.7 * index + 0.3 * k)).reshape(tensor.shape))


@torch.no_grad()
def fill_head(head: nn.Module) -> None:
    """Fill every parameter, norm weights around 1, the learned variances left as they are."""
    fill([p for name, p in head.named_parameters() if "log_scale" not in name])
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight += 1


def signals(
    head: Head, students: list[Tensor], teachers: list[Tensor]
) -> tuple[ModelOutputs, ModelOutputs]:
    ours, theirs = zip(*head.pairs, strict=True)
    return _signal(ours, students), _signal(theirs, teachers)


def _signal(names: tuple[str, ...], features: list[Tensor]) -> ModelOutputs:
    logits = features[0].new_zeros(features[0].shape[0], 2)
    return ModelOutputs(logits, dict(zip(names, features, strict=True)))


def loss_of(head: Head, students: list[Tensor], teachers: list[Tensor]) -> Tensor:
    target = torch.zeros(students[0].shape[0], dtype=torch.long)
    return head(*signals(head, students, teachers), target)


def bound(head: Head, students: list[Tensor], teachers: list[Tensor]) -> Head:
    """Bind to the shapes, fill the adapters, and take the features' precision."""
    head.bind(*signals(head, students, teachers))
    fill_head(head.to(students[0].dtype))
    return head


def as_tokens(feature: Tensor) -> Tensor:
    """Return (N, 1 + H*W, C) with a class token that no loss may look at."""
    tokens = feature.permute(0, 2, 3, 1).reshape(feature.shape[0], -1, feature.shape[1])
    return torch.cat([torch.full_like(tokens[:, :1], 77.0), tokens], dim=1)


def check_gradient(head: Head, students: list[tuple], teachers: list[tuple]) -> None:
    generator = torch.Generator().manual_seed(3)

    def draw(shape: tuple) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    ours = [draw(shape).requires_grad_() for shape in students]
    theirs = [draw(shape) for shape in teachers]
    bound(head, ours, theirs)
    assert torch.autograd.gradcheck(lambda *xs: loss_of(head, list(xs), theirs), ours)


def check_tokens(head: Head, students: list[Tensor], teachers: list[Tensor]) -> None:
    """A ViT's tokens give what their maps give, on either side."""
    bound(head, students, teachers)
    expected = loss_of(copy.deepcopy(head), students, teachers)
    tokens_s, tokens_t = [as_tokens(x) for x in students], [as_tokens(x) for x in teachers]
    for ours, theirs in [(tokens_s, teachers), (students, tokens_t), (tokens_s, tokens_t)]:
        head.bind(*signals(head, ours, theirs))
        torch.testing.assert_close(
            loss_of(copy.deepcopy(head), ours, theirs), expected, rtol=1e-12, atol=0
        )


def check_numerics(
    head: Head,
    students: list[tuple],
    teachers: list[tuple],
    dtype: torch.dtype,
    case: str,
    rtol32: float = 1e-5,
) -> None:
    """Loss and gradient are finite and are float64's on the same rounded inputs."""
    generator = torch.Generator().manual_seed(5)
    ours = [_draw(shape, case, generator).to(dtype).requires_grad_() for shape in students]
    theirs = [_draw(shape, case, generator).to(dtype) for shape in teachers]
    exact = [x.detach().double().requires_grad_() for x in ours]
    bound(head, [x.float() for x in ours], [x.float() for x in theirs])
    reference = loss_of(copy.deepcopy(head).double(), exact, [x.double() for x in theirs])
    loss = loss_of(head, ours, theirs)
    wanted = torch.autograd.grad(reference, exact)
    got = torch.autograd.grad(loss, ours)
    torch.testing.assert_close(loss.double(), reference, rtol=rtol32, atol=1e-6)
    # A gradient comes back in the input's type: its rounding, and its smallest number. Where
    # batch-norm cancels all of it, what is left is float32's rounding of the terms.
    rtol = max(rtol32, torch.finfo(dtype).eps)
    least = 1.2e-7 * float(reference.detach().abs()) + (6e-8 if dtype == torch.float16 else 1e-12)
    for mine, other in zip(got, wanted, strict=True):
        assert mine.isfinite().all()
        atol = rtol * float(other.abs().max()) + least
        torch.testing.assert_close(mine.double(), other, rtol=rtol, atol=atol)


def _draw(shape: tuple, case: str, generator: torch.Generator) -> Tensor:
    if case == "constant":
        return torch.full(shape, 8.0, dtype=torch.float64)
    if case == "zeros":
        return torch.zeros(shape, dtype=torch.float64)
    draw = 8 * torch.randn(shape, generator=generator, dtype=torch.float64)
    if case == "one":
        return draw[:1]
    return draw[:1].expand(shape).contiguous() if case == "identical" else draw


def check_yaml(name: str, default: Head) -> None:
    """The option file names every setting and holds the class's own defaults."""
    config = OmegaConf.load(ROOT / "conf" / "head" / f"{name}.yaml")
    assert list(config) == [name]
    made = instantiate(OmegaConf.merge({"temperature": 4.0}, config)[name])
    assert type(made) is type(default)
    assert _settings(made) == _settings(default)


def _settings(head: Head) -> dict:
    return {name: _plain(value) for name, value in vars(head).items() if not name.startswith("_")}


def _plain(value: object) -> object:
    """A schedule is equal to another of the same class and numbers."""
    is_schedule = type(value).__module__.endswith(".schedules")
    return (type(value), vars(value)) if is_schedule else value
