"""Private names of torch in use."""

import warnings
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.conv import _ConvNd as ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = [
    "BatchNorm",
    "ConvNd",
    "TorchDispatchMode",
    "aten_name",
    "convolve",
    "decomposed_operators",
    "end_workers",
    "fake_quantize",
    "fold_batch_norm",
    "forward_pre_hooks",
    "has_triton",
    "is_compiled",
    "named_arguments",
    "padding_around",
    "parameter_names",
    "set_rates",
    "tree_leaves",
    "version_of",
]  # fmt: skip
NAMES = {
    "torch.nn.modules.batchnorm._BatchNorm": (),
    "torch.nn.modules.conv._ConvNd": (),
    "torch.nn.Conv2d._conv_forward": ("self", "input", "weight", "bias"),
    "torch.nn.Module._load_from_state_dict": ("self", "state_dict", "prefix"),
    "torch.utils._triton.has_triton": (),
    "torch.fx.experimental.optimization.fuse": ("model",),
    "torch.ao.quantization.fx._decomposed": (),
    "torch._fake_quantize_per_tensor_affine_cachemask_tensor_qparams": (),
    "torch.Tensor._version": (),
    "torch.utils._python_dispatch.TorchDispatchMode": (),
    "torch.utils._pytree.tree_leaves": ("tree",),
}


def decomposed_operators() -> ModuleType:
    """Return the quantize and dequantize operators that exporters recognise.

    Their module is deprecated, and still the only one that registers them; torchao and ExecuTorch
    import it too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch.ao.quantization.fx._decomposed
    operators: ModuleType = torch.ops.quantized_decomposed
    return operators


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Return a traced copy whose batch-norm is in the weights before it."""
    from torch.fx.experimental.optimization import fuse

    return fuse(network)


def has_triton() -> bool:
    """Return whether torch.compile can use a GPU here."""
    return torch.utils._triton.has_triton()


def fake_quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor, enabled: Tensor, lo: int, hi: int
) -> Tensor:
    """Return `x` on a grid where `enabled` (1,) int64 is 1, and as it is where it is 0.

    The public function has no flag on the device, and reading one would wait for it.
    """
    return torch._fake_quantize_per_tensor_affine_cachemask_tensor_qparams(
        x, scale, zero_point, enabled, lo, hi
    )[0]


def convolve(conv: nn.Conv1d | nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """Return what `conv` would give of `x` with another weight of the same shape."""
    return conv._conv_forward(x, weight, conv.bias)


def padding_around(conv: ConvNd) -> list[int]:
    """Return a convolution's padding as `torch.nn.functional.pad` takes it."""
    return list(conv._reversed_padding_repeated_twice)


def forward_pre_hooks(module: nn.Module) -> Iterable[Any]:
    """Return the hooks that a call of `module` would run first."""
    return module._forward_pre_hooks.values()


def version_of(tensor: Tensor) -> int:
    """Return how often `tensor` was written to in place."""
    return tensor._version


def is_compiled(module: nn.Module) -> bool:
    """Return whether calls of `module` go to what torch.compile made of it."""
    is_wrapper = "_orig_mod" in dict(module.named_children())
    return is_wrapper or module._compiled_call_impl is not None


def aten_name(operator: Any) -> str:
    """Return the name of an aten operator without the underscore of its in-place form, else ""."""
    if not isinstance(operator, torch._ops.OpOverload) or operator.namespace != "aten":
        return ""
    return str(operator._schema.name).removeprefix("aten::").removesuffix("_")


def parameter_names(operator: Any) -> list[str]:
    """Return the names of an aten operator's parameters, in order."""
    return [argument.name for argument in operator._schema.arguments]


def named_arguments(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all arguments of a call of an aten operator by name, defaults filled in."""
    declared = operator._schema.arguments
    names = (argument.name for argument in declared)
    defaults = {argument.name: argument.default_value for argument in declared}
    return defaults | dict(zip(names, args, strict=False)) | kwargs


def end_workers(loader: Any) -> None:
    """End a DataLoader's worker processes now; else the traceback keeps them for seconds."""
    loader._iterator = None


def set_rates(scheduler: Any, rates: Sequence[Any]) -> None:
    """Set the learning rates of a scheduler's optimizer, and the rates it reports."""
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = list(rates)
