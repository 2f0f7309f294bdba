"""Host-to-device transfer of sample ids and random draws."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` on `device`, without waiting for the work queued on a GPU.

    Apple's GPUs are waited for: there such a copy may be read before it is whole.
    """
    return tensor.to(device, non_blocking=device.type not in ("cpu", "mps"))
