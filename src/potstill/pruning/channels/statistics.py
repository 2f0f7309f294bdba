"""Activation statistics of channels over images; the network is left as it was."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from potstill.data.loaders.calibration import calibration_batches
from potstill.libraries.torch import ConvNd
from potstill.models.features.hooks import hooked
from potstill.models.features.trace import in_eval_mode

Batches = Iterable[tuple[Tensor, ...]]
Loss = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Evaluate `model` for a while, with gradients; then restore modes, gradients and buffers."""
    parameters = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with in_eval_mode(model), torch.enable_grad():
            for parameter, _, _ in parameters:
                parameter.grad = None
                parameter.requires_grad_()
            yield
    finally:
        for parameter, grad, wanted in parameters:
            parameter.grad = grad
            parameter.requires_grad_(wanted)
        for buffer, value in buffers:
            buffer.data.copy_(value)


def mean_inputs(model: nn.Module, batches: Batches) -> dict[str, Tensor]:
    """Return the mean size of each input channel of each convolution and linear layer, (C,).

    Absolute values, averaged over all images of all batches and all places, by layer.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def add(path: str, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        channels_last = args[0].movedim(1 if isinstance(layer, ConvNd) else -1, -1)
        rows = channels_last.detach().flatten(0, -2).abs()  # (n, C)
        sums[path] = sums.get(path, torch.zeros(())) + rows.double().sum(0).cpu()
        counts[path] = counts.get(path, 0) + len(rows)

    layers = [(p, m) for p, m in model.named_modules() if isinstance(m, (ConvNd, nn.Linear))]
    with (
        hooked(layer.register_forward_pre_hook(partial(add, path)) for path, layer in layers),
        preserve_state(model),
        torch.no_grad(),
    ):
        for image, _ in placed(model, batches):
            model(image)
    return {path: total / counts[path] for path, total in sums.items()}


def gradients(
    model: nn.Module, batches: Batches, loss: Loss, each: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Yield the gradient of every parameter by name, once a batch or, with `each`, an image."""
    with preserve_state(model):
        names, values = zip(*model.named_parameters(), strict=True)
        for image, target in placed(model, batches):
            size = 1 if each else len(image)
            for part, label in zip(image.split(size), target.split(size), strict=True):
                found = torch.autograd.grad(loss(model(part), label), values, allow_unused=True)
                yield {n: g.detach() for n, g in zip(names, found, strict=True) if g is not None}


def placed(model: nn.Module, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (image, target) where the network is; ConfigError if there is no batch."""
    like = next(model.parameters())
    for image, target, *_ in calibration_batches(batches):
        yield image.to(like.device, like.dtype), target.to(like.device)
