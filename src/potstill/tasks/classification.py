"""Classification: cross-entropy, accuracy and calibration, agreement on the top class."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from potstill.config.ranges import Ranges
from potstill.data.loaders.few_labels import UNLABELLED
from potstill.errors import ConfigError
from potstill.measure import metrics
from potstill.measure.sqnr import centred
from potstill.tasks.base import Task
from potstill.tasks.differences import differing, examples
from potstill.tasks.parts import NetworkOutputs, Parts
from potstill.tasks.scoring import CLASSIFICATION, Scoring


class Classification(Task):
    """One of K classes for an image: logits (N, K), targets (N,) or probabilities (N, K).

    Args:
        label_smoothing: of the cross-entropy, in [0, 1].

    Raises:
        ConfigError: if it is out of range.
    """

    ranges: ClassVar[Ranges] = {"label_smoothing": "[0, 1)"}

    scoring: ClassVar[Scoring] = CLASSIFICATION
    loss_name: ClassVar[str] = "cross entropy"
    needs_classes: ClassVar[bool] = True
    takes_unlabelled: ClassVar[bool] = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing <= 1:
            raise ConfigError(f"label_smoothing={label_smoothing}: not in [0, 1]. Fix: 0.1")
        self.label_smoothing = label_smoothing

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy, a scalar; with few labels, the mean over those there are."""
        smoothing = self.label_smoothing
        if not self.few_labels:
            return F.cross_entropy(outputs, targets, label_smoothing=smoothing)
        total = F.cross_entropy(
            outputs, targets, ignore_index=UNLABELLED, reduction="sum", label_smoothing=smoothing
        )
        return total / (targets != UNLABELLED).sum().clamp(min=1)

    def step_scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the accuracy of a batch; of mixed images, by the class that has most of one.

        With few labels there is none: few batches hold as many as would make a share.
        """
        if self.few_labels:
            return {}
        classes = targets if targets.dim() == 1 else targets.argmax(1)
        return {"accuracy": (outputs.argmax(1) == classes).mean(dtype=torch.float32)}

    def metrics(self, num_outputs: int) -> dict[str, Metric]:
        """Return accuracy and expected calibration error (15 bins)."""
        return {"accuracy": metrics.Accuracy(), "ece": metrics.CalibrationError(num_outputs)}

    def teacher_metrics(self) -> dict[str, Metric]:
        """Return the share of images on which both name one class, and KL(teacher || student)."""
        return {"agreement": metrics.Agreement(), "teacher_kl": metrics.Divergence()}

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the accuracy."""
        return metrics.accuracy(outputs, targets)

    def evaluate(
        self, outputs: Tensor, targets: Tensor, teacher: Tensor | None = None
    ) -> dict[str, float | None]:
        """Return accuracy and ECE, and agreement and divergence where there is a teacher."""
        return {
            "accuracy": metrics.accuracy(outputs, targets),
            "ece": metrics.calibration_error(outputs, targets),
            "agreement": None if teacher is None else metrics.agreement(outputs, teacher),
            "divergence": None if teacher is None else metrics.divergence(outputs, teacher),
        }

    def untrained_score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return 1 / K and three standard deviations of guessing."""
        chance = 1 / outputs.shape[1]
        return chance + 3 * (chance * (1 - chance) / len(targets)) ** 0.5

    def agree(self, ours: Tensor, theirs: Tensor, slack: float = 0.0) -> Tensor:
        """Return where both name one class, or two that lie within `slack` of each other."""
        first, second = ours.argmax(1), theirs.argmax(1)
        margin = (ours.gather(1, first[:, None]) - ours.gather(1, second[:, None]))[:, 0]
        return (first == second) | (margin < slack)

    def comparable(self, outputs: Tensor) -> Tensor:
        """Return logits less their mean over the classes, which softmax does not see."""
        return centred(outputs)

    def facts(self, data: Any) -> dict[str, Any]:
        """Return the names of the classes."""
        return {"class_names": list(data.class_names)}

    def parts(self, tested: NetworkOutputs) -> Parts:
        """Return confusion, accuracy by class, reliability, and images that tell networks apart."""
        outputs, targets, names = tested.outputs, tested.targets, tested.class_names
        counts = metrics.confusion(outputs[tested.subject], targets)
        if counts.num_classes != len(names):
            raise ValueError(f"class_names: {len(names)} names for {counts.num_classes} classes")
        positions = differing(outputs[tested.subject], tested.teacher, targets)
        bins = {name: metrics.reliability(found, targets) for name, found in outputs.items()}
        return Parts(
            class_names=list(names),
            confusion=counts,
            class_accuracy={
                name: metrics.class_accuracy(found, targets).tolist()
                for name, found in outputs.items()
            },
            reliability={
                name: {key: value.tolist() for key, value in vars(found).items()}
                for name, found in bins.items()
            },
            examples=examples(tested, positions, tested.images(positions)),
        )
