"""Rules for pooling, interpolation and shuffles of channels."""

from typing import Any

from torch import Tensor

from potstill.pruning.channels.coupling.trace import Arguments, LabelTrace, rule


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Tie the groups to each other and interleave them."""
    axes, groups = list(trace.get(arguments["self"])), arguments["groups"]
    if isinstance(axis := axes[1], Tensor):
        trace.labels.tie(axis.view(groups, -1), axis[: len(axis) // groups])
        axes[1] = axis.view(groups, -1).t().flatten()
    trace.set(out, axes)


@rule("pixel_shuffle", "pixel_unshuffle")
def pixel_shuffle(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Tie the channels that become one, or repeat one for those it becomes."""
    *batch, channels, _, _ = trace.get(arguments["self"])
    if isinstance(channels, Tensor) and "upscale_factor" in arguments:
        squared = arguments["upscale_factor"] ** 2
        trace.labels.tie(channels.view(-1, squared), channels[::squared, None])
        channels = channels[::squared]
    elif isinstance(channels, Tensor):
        channels = channels.repeat_interleave(arguments["downscale_factor"] ** 2)
    trace.set(out, (*batch, channels, None, None))


@rule("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d",
      "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "upsample_nearest1d",
      "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d",
      "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
      "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d",
      "grid_sampler_2d")  # fmt: skip
def resample(trace: LabelTrace, arguments: Arguments, out: Any) -> None:
    """Keep batch and channels; the places change."""
    image, *others = [value for value in arguments.values() if isinstance(value, Tensor)]
    batch, channels, *places = trace.get(image)
    trace.labels.fix(*places)
    trace.fix(*others)
    for result in out if isinstance(out, tuple) else (out,):
        trace.set(result, (batch, channels, *[None] * len(places)))
