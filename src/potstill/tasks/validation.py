"""Metrics over one validation pass: the loss, a task's scores, and likeness to the teacher."""

from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from potstill.tasks.base import Task


class Validation(nn.Module):
    """`val/loss`, `val/NAME` of every metric of a task and, with a teacher, those against it.

    Args:
        task: decides which.
        num_outputs: K, of the network.
        has_teacher: whether `update` gets a teacher's outputs.
    """

    def __init__(self, task: Task, num_outputs: int, has_teacher: bool) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.scores = _collection(task.metrics(num_outputs))
        self.beside_teacher = _collection(task.teacher_metrics() if has_teacher else {})

    def names(self, with_teacher: bool) -> set[str]:
        """Return the names of the metrics, those against the teacher only where there is one."""
        found = {"val/loss", *map(str, self.scores.keys())}
        return found | set(map(str, self.beside_teacher.keys())) if with_teacher else found

    def update(self, outputs: Tensor, target: Tensor, loss: Tensor, teacher: Tensor | None) -> None:
        """Add a batch: outputs (N, K) float32, target, its mean loss, the teacher's outputs."""
        self.loss.update(loss, len(target))
        self.scores.update(outputs, target)
        if teacher is not None:
            self.beside_teacher.update(outputs, teacher)

    def finish(self) -> dict[str, Tensor]:
        """Return the metrics by name and start over."""
        values = {"val/loss": self.loss.compute()}
        values |= self.scores.compute() | self.beside_teacher.compute()
        for metric in (self.loss, self.scores, self.beside_teacher):
            metric.reset()
        return values


def _collection(metrics: dict[str, Metric]) -> MetricCollection:
    # Groups are of metrics that keep the same sums; these do not.
    return MetricCollection(dict(metrics), prefix="val/", compute_groups=False)
