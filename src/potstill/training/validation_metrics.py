"""What is measured on validation: accuracy, calibration, and how far student and teacher agree."""

from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError


class Validation(nn.Module):
    """Metrics over one validation pass: `val/loss`, `val/accuracy`, `val/ece` (15 bins).

    With a teacher also `val/agreement`, the share of images on which both name one class,
    and `val/teacher_kl`, KL(teacher || student) in nats.
    """

    def __init__(self, num_classes: int, has_teacher: bool) -> None:
        super().__init__()
        self.scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes, average="micro"),
                "ece": MulticlassCalibrationError(num_classes, n_bins=15),
            },
            prefix="val/",
        )
        names = ["loss", "agreement", "teacher_kl"] if has_teacher else ["loss"]
        self.means = MetricCollection({name: MeanMetric() for name in names}, prefix="val/")

    def update(self, logits: Tensor, target: Tensor, loss: Tensor, teacher: Tensor | None) -> None:
        """Add a batch: logits (N, K) float32, target (N,), its mean loss, the teacher's logits."""
        self.scores.update(logits.softmax(1), target)
        self.means["loss"].update(loss, len(target))
        if teacher is not None:
            self.means["agreement"].update((logits.argmax(1) == teacher.argmax(1)).float())
            log_p, log_q = logits.log_softmax(1), teacher.log_softmax(1)
            self.means["teacher_kl"].update((log_q.exp() * (log_q - log_p)).sum(1))

    def finish(self) -> dict[str, Tensor]:
        """Return the metrics by name and start anew."""
        values = self.scores.compute() | self.means.compute()
        self.scores.reset()
        self.means.reset()
        return values
