"""Small copies of images, inside the page that shows them."""

import base64
import io

import torch.nn.functional as F
from matplotlib.image import imsave
from torch import Tensor

SIDE = 96  # pixels, of the longer side at most


def data_uri(image: Tensor) -> str:
    """Return an image (3, H, W) in 0 .. 1 as a PNG inside an address, at most SIDE pixels."""
    longest = max(image.shape[1:])
    if longest > SIDE:
        size = [max(1, round(side * SIDE / longest)) for side in image.shape[1:]]
        image = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
    pixels = (255 * image.float().clamp(0, 1)).round().byte()
    buffer = io.BytesIO()
    imsave(buffer, pixels.permute(1, 2, 0).contiguous().cpu().numpy(), format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
