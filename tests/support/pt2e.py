"""PyTorch 2 export quantization of torchao with XNNPACK's quantizer: the second opinion."""

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from potstill.data.loaders.calibration import calibration_batches
from potstill.models.features.trace import in_eval_mode


@torch.no_grad()
def quantize_pt2e(network: nn.Module, batches: Iterable[Any], n_batches: int = 8) -> GraphModule:
    """Return the network converted by PT2E: static int8, weights by channel, min-max ranges.

    Slower to make than `quantize_static` and no longer made of modules, but other people's code:
    what ours is compared with. `batches` are images (N, C, H, W), or tuples that begin with them;
    the result takes any N.
    """
    quantizer = _quantizer()
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    images = [image for image, *_ in calibration_batches(batches, n_batches)]
    with in_eval_mode(network), warnings.catch_warnings():
        # Both libraries still call what torch has deprecated.
        warnings.simplefilter("ignore")
        prepared = prepare_pt2e(_export(network, images[0]), quantizer)
        for image in images:
            prepared(image)
        return convert_pt2e(prepared)


def _export(network: nn.Module, image: Tensor) -> GraphModule:
    batch = torch.export.Dim("batch", min=1)
    # One image would be taken for a constant.
    example = image if len(image) > 1 else torch.cat([image, image])
    exported = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    return exported.module()


def _quantizer() -> Any:
    """Return XNNPACK's quantizer; its own histogram observers take minutes on a CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack
        from torchao.quantization.pt2e import MinMaxObserver
    config = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
    observer = MinMaxObserver.with_args(eps=2**-12)
    activation = dataclasses.replace(config.input_activation, observer_or_fake_quant_ctr=observer)
    config = dataclasses.replace(config, input_activation=activation, output_activation=activation)
    return xnnpack.XNNPACKQuantizer().set_global(config)
