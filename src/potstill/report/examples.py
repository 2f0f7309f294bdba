"""Test images on which a network and its teacher disagree, with thumbnails."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.image import imsave
from torch import Tensor

LOST, WON, BOTH_WRONG = "lost", "won", "both wrong"
SIDE = 96  # pixels, of the longer side at most


def differing(student: Tensor, teacher: Tensor | None, targets: Tensor, most: int = 12) -> Tensor:
    """Return the positions (E,) of telling images, from logits (M, K) and targets (M,).

    First those that the teacher gets right and the student does not, then the reverse, then
    those that both mistake for different classes; a third of the places at least is left to
    the reverse. Within each, the one the student is surest of comes first. Without a teacher:
    the student's surest mistakes.
    """
    confidence, ours = student.double().softmax(dim=1).max(dim=1)
    theirs = targets if teacher is None else teacher.argmax(dim=1)
    kinds = [
        (ours != targets) & (theirs == targets),
        (ours == targets) & (theirs != targets),
        (ours != targets) & (theirs != targets) & (ours != theirs),
    ]
    lost, won, both = (_surest(confidence, kind) for kind in kinds)
    places = most - min(len(won), most // 3)
    return torch.cat([lost[:places], won, both])[:most]


def _surest(confidence: Tensor, chosen: Tensor) -> Tensor:
    positions = chosen.nonzero().flatten()
    return positions[confidence[positions].argsort(descending=True, stable=True)]


def describe(
    positions: Tensor,
    images: Tensor,
    student: Tensor,
    teacher: Tensor | None,
    targets: Tensor,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Return one entry for each position (E,): its image (E, 3, H, W) in 0 .. 1, who said what.

    `ours` and `theirs` are (class, confidence from 0 to 1); `theirs` is None without a teacher.
    """
    return [
        {
            "position": int(position),
            "image": data_uri(image),
            "target": class_names[int(targets[position])],
            "ours": _answer(student[position], class_names),
            "theirs": None if teacher is None else _answer(teacher[position], class_names),
        }
        for position, image in zip(positions, images, strict=True)
    ]


def _answer(logits: Tensor, class_names: Sequence[str]) -> tuple[str, float]:
    confidence, label = logits.double().softmax(dim=0).max(dim=0)
    return class_names[int(label)], round(confidence.item(), 4)


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
