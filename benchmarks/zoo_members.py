"""One small classifier of each module of torchvision and timm, with random statistics."""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import timm
import torch
import torchvision
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

CLASSES = 10
SIDES = (64, 128, 224, 256, 299)  # pixels that are tried, smallest first
SMALL = (
    *("zepto", "atto", "femto", "pico", "nano", "xxt", "xt", "tiny", "_xxs", "_xs", "_s", "small"),
    *("050", "035", "_14", "18", "_b0", "_0", "mini", "lite", "micro", "test"),
)
TRIED = 4  # members of a module that are built (without memory) to find the smallest


@dataclass(frozen=True)
class Member:
    """A network of a library's module: `timm`, `convnext`, `convnext_atto`."""

    library: str
    module: str
    name: str

    @property
    def native(self) -> int:
        """Return the pixels of a side that the network was made for."""
        if self.library == "torchvision":
            return 224
        return timm.get_pretrained_cfg(self.name).input_size[-1]

    def build(self, side: int) -> nn.Module:
        """Return the network with random weights for images of `side` pixels."""
        torch.manual_seed(0)
        if self.library == "torchvision":
            options = {"init_weights": False} if self.name in ("googlenet", "inception_v3") else {}
            net = torchvision.models.get_model(self.name, num_classes=CLASSES, **options)
        else:
            fixed = timm.get_pretrained_cfg(self.name).fixed_input_size
            options = {"img_size": side} if fixed and side != self.native else {}
            net = timm.create_model(self.name, num_classes=CLASSES, **options)
        return _with_statistics(net)


def members() -> Iterator[Member]:
    """Yield one of each module that holds classifiers, by library and name."""
    get = partial(torchvision.models.get_model, weights=None)
    known = torchvision.models.list_models(torchvision.models)
    for module in sorted({_module(name) for name in known}):
        names = [name for name in known if _module(name) == module]
        yield Member("torchvision", module, _smallest(names, get))
    for module in timm.list_modules():
        if names := timm.list_models(module=module):
            yield Member("timm", module, _smallest(names, timm.create_model))


def _module(name: str) -> str:
    return torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]


def _smallest(names: list[str], make: Callable[[str], nn.Module]) -> str:
    """Return the member with the fewest weights, of those whose names sound small."""
    likely = sorted(names, key=lambda n: (not any(word in n for word in SMALL), _numbers(n), n))
    sizes = {}
    for name in likely[:TRIED]:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                net = make(name)
            except Exception:  # some compute in __init__, which meta tensors cannot
                continue
        sizes[name] = sum(parameter.numel() for parameter in net.parameters())
    return min(sizes, key=lambda name: sizes[name], default=likely[0])


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _with_statistics(net: nn.Module) -> nn.Module:
    """Return the network as if trained: no statistic, scale or layer scale is 0 or 1."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, _BatchNorm) and module.affine and module.track_running_stats:
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
        for parameter in net.parameters():
            if parameter.dim() == 1 and parameter.abs().max() < 1e-3:
                parameter.uniform_(-0.3, 0.3)  # what starts at zero
    return net.eval()
