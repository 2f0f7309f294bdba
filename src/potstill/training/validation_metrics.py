"""Validation metrics: loss, accuracy, calibration, and agreement with the teacher."""

from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from potstill.measure.metrics import Accuracy, Agreement, CalibrationError, Divergence


class Validation(nn.Module):
    """Metrics over one validation pass: `val/loss`, `val/accuracy`, `val/ece` (15 bins).

    With a teacher also `val/agreement`, the share of images on which both name one class,
    and `val/teacher_kl`, KL(teacher || student) in nats.
    """

    def __init__(self, num_classes: int, has_teacher: bool) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.scores = _collection(accuracy=Accuracy(), ece=CalibrationError(num_classes))
        beside: dict[str, Metric] = {"agreement": Agreement(), "teacher_kl": Divergence()}
        self.beside_teacher = _collection(**(beside if has_teacher else {}))

    def update(self, logits: Tensor, target: Tensor, loss: Tensor, teacher: Tensor | None) -> None:
        """Add a batch: logits (N, K) float32, target (N,), its mean loss, the teacher's logits."""
        self.loss.update(loss, len(target))
        self.scores.update(logits, target)
        if teacher is not None:
            self.beside_teacher.update(logits, teacher)

    def finish(self) -> dict[str, Tensor]:
        """Return the metrics by name and start over."""
        values = {"val/loss": self.loss.compute()}
        values |= self.scores.compute() | self.beside_teacher.compute()
        for metric in (self.loss, self.scores, self.beside_teacher):
            metric.reset()
        return values


def _collection(**metrics: Metric) -> MetricCollection:
    # Groups are of metrics that keep the same sums; these do not.
    return MetricCollection(dict(metrics), prefix="val/", compute_groups=False)
