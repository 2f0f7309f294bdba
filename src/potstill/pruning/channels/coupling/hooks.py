"""Labels at modules: paddings of channels, and norms that hold no parameter."""

from typing import Any

from torch import Tensor, nn

from potstill.pruning.channels.coupling.places import Place
from potstill.pruning.channels.coupling.trace import LabelTrace
from potstill.pruning.channels.slicing import CUTTABLE, ChannelPad


def label_modules(net: nn.Module, trace: LabelTrace, places: list[Place]) -> list[Any]:
    """Label what declares a width without a parameter of that size, and return the hooks' handles.

    `places` grows when such a module is called.
    """
    handles = []
    for path, module in net.named_modules():
        hook = _pad_hook if isinstance(module, ChannelPad) else _norm_hook
        if hook is _pad_hook or (isinstance(module, CUTTABLE) and not module.state_dict()):
            handles.append(nn.Module.register_forward_hook(module, hook(path, trace, places)))
    return handles


def _pad_hook(path: str, trace: LabelTrace, places: list[Place]) -> Any:
    def note(pad: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        read, labels = trace.get(args[0])[1], trace.labels.fresh(output.shape[1])
        if isinstance(read, Tensor):
            trace.labels.tie(labels[pad.before : pad.before + len(read)], read)
        else:
            trace.labels.fix(labels)
        batch, _, *rest = trace.get(output)
        trace.set(output, (batch, labels, *rest))
        places.append(Place(path, pad, "out", labels))

    return note


def _norm_hook(path: str, trace: LabelTrace, places: list[Place]) -> Any:
    def note(norm: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        read = trace.get(output)[-1 if hasattr(norm, "normalized_shape") else 1]
        if isinstance(read, Tensor):
            places.append(Place(path, norm, "out", read))

    return note
