"""The inputs of the golden values of response and relation heads, in float64."""

import torch
from torch import Tensor

from potstill.heads.base import Head
from potstill.models.features.outputs import ModelOutputs
from tests.support.golden import GOLDEN
from tests.support.golden import golden as golden


def t(shape: tuple[int, ...], a: float, b: float, s: float = 1.0) -> Tensor:
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (s * torch.sin(a * index + b)).reshape(shape)


ZS, ZT = t((8, 10), 0.37, 0.1, 3.0), t((8, 10), 0.53, 0.2, 5.0)
STRONG_ZS, STRONG_ZT = t((8, 10), 0.41, 0.5, 3.0), t((8, 10), 0.59, 0.6, 5.0)
PS, PT = t((8, 16), 0.23, 0.3), t((8, 24), 0.29, 0.4)
Y = torch.tensor(GOLDEN["_inputs"]["y"])


def signal(
    logits: Tensor, pooled: Tensor | None = None, strong: Tensor | None = None
) -> ModelOutputs:
    features = {} if pooled is None else {"pooled": pooled}
    return ModelOutputs(logits, features, views=() if strong is None else (ModelOutputs(strong),))


STUDENT, TEACHER = signal(ZS, PS, STRONG_ZS), signal(ZT, PT, STRONG_ZT)


def value(head: Head) -> float:
    """Return the head's loss on the golden inputs."""
    return head.double()(STUDENT, TEACHER, Y).item()


def check_logit_gradient(head: Head) -> None:
    """Compare the gradient by the student's logits with finite differences."""
    logits = ZS.clone().requires_grad_()
    strong = STRONG_ZS.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z, z2: head(signal(z, PS, z2), TEACHER, Y), (logits, strong)
    )


def check_feature_gradient(head: Head, teacher: ModelOutputs = TEACHER) -> None:
    """Compare the gradient by the student's pooled features with finite differences."""
    pooled = PS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: head(signal(ZS, f), teacher, Y), (pooled,))
