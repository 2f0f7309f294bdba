"""Test images on which a classifier and its teacher differ, the most telling first."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from potstill.tasks.parts import NetworkOutputs


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


def examples(tested: NetworkOutputs, positions: Tensor, images: Tensor) -> list[dict[str, Any]]:
    """Return one entry for each position (E,): image (E, 3, H, W) in 0 .. 1, outputs.

    `ours` and `theirs` are (class, confidence from 0 to 1); `theirs` is None without a teacher.
    """
    names, teacher = tested.class_names, tested.teacher
    student = tested.outputs[tested.subject]
    return [
        {
            "position": int(position),
            "image": image,
            "target": names[int(tested.targets[position])],
            "ours": _answer(student[position], names),
            "theirs": None if teacher is None else _answer(teacher[position], names),
        }
        for position, image in zip(positions, images, strict=True)
    ]


def _answer(logits: Tensor, class_names: Sequence[str]) -> tuple[str, float]:
    confidence, label = logits.double().softmax(dim=0).max(dim=0)
    return class_names[int(label)], round(confidence.item(), 4)
