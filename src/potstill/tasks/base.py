"""Interface of a task: its loss, its scores, agreement of two networks, parts of a page."""

from typing import Any, ClassVar

from torch import Tensor
from torchmetrics import Metric

from potstill.errors import ConfigError
from potstill.tasks.parts import NetworkOutputs, Parts
from potstill.tasks.scoring import Scoring


class Task:
    """What a network's outputs mean; subclasses implement all that raises NotImplementedError.

    Outputs are what the network returns of a batch, (N, K), called logits elsewhere; targets are
    as the data gives them. A task keeps no state of a training.

    Class attributes:
        scoring: its scores.
        loss_name: of the task loss, for a person.
        needs_classes: whether the data must offer `num_classes` and `class_names`.
        takes_unlabelled: whether `loss` leaves out images without a label (target -1) where
            `few_labels` is set, as `check_data` does.
    """

    scoring: ClassVar[Scoring]
    loss_name: ClassVar[str]
    needs_classes: ClassVar[bool] = False
    takes_unlabelled: ClassVar[bool] = False
    few_labels: bool = False

    def check_data(self, data: Any) -> None:
        """Raise where a data module cannot serve the task, before anything is trained.

        Raises:
            ConfigError: saying what it lacks.
        """
        if self.needs_classes and not data.num_classes:
            raise ConfigError(
                f"data={data.dataset_name}: has no classes, which task {self.scoring.task} "
                "learns. Fix: other data, or another task"
            )
        self.few_labels = data.labelled is not None
        if self.few_labels and not self.takes_unlabelled:
            raise ConfigError(
                f"data.labels_per_class={data.labels_per_class}: task {self.scoring.task} needs "
                "the label of every image. Fix: data.labels_per_class=null"
            )

    # -- training ---------------------------------------------------------------------------

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the task loss of a batch (N, K), a scalar, averaged over the images."""
        raise NotImplementedError

    def step_scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return scalars of a training batch by the name of a score; logged as `train/NAME`."""
        return {}

    # -- validation -------------------------------------------------------------------------

    def metrics(self, num_outputs: int) -> dict[str, Metric]:
        """Return new metrics that are updated with (outputs, targets); logged as `val/NAME`.

        The main score is among them.
        """
        raise NotImplementedError

    def teacher_metrics(self) -> dict[str, Metric]:
        """Return new metrics that are updated with (outputs, the teacher's outputs)."""
        return {}

    # -- a whole data set -------------------------------------------------------------------

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the main score of outputs (M, K)."""
        raise NotImplementedError

    def evaluate(
        self, outputs: Tensor, targets: Tensor, teacher: Tensor | None = None
    ) -> dict[str, float | None]:
        """Return every score by name, None for one that needs the teacher's outputs (M, K)."""
        return {self.scoring.main.name: self.score(outputs, targets)}

    def untrained_score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the best score that knowing nothing of the images may reach by chance."""
        raise NotImplementedError

    def agree(self, ours: Tensor, theirs: Tensor, slack: float = 0.0) -> Tensor:
        """Return on which images two sets of outputs (N, K) predict the same, (N,) bool.

        An image counts as well where outputs within `slack` of `ours` may predict what `theirs` do.
        """
        raise NotImplementedError

    def comparable(self, outputs: Tensor) -> Tensor:
        """Return what of outputs (N, K) two networks are compared by, (N, K)."""
        return outputs

    # -- what is written --------------------------------------------------------------------

    def facts(self, data: Any) -> dict[str, Any]:
        """Return what a user of a network's file must know of its outputs.

        Either `class_names`, or `output`: a mapping of `shape` and `meaning`.
        """
        raise NotImplementedError

    def parts(self, tested: NetworkOutputs) -> Parts:
        """Return what the page of a run shows beside its table."""
        return Parts()


def check_task(task: Any) -> Task:
    """Return `task`.

    Raises:
        ConfigError: if it is none.
    """
    if not isinstance(task, Task):
        raise ConfigError(
            f"task={type(task).__name__}: is no task. Fix: a subclass of potstill.tasks.base.Task"
        )
    return task
