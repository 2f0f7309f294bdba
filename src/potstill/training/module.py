"""LightningModule of a student: the task loss, and what a teacher adds to it."""

from collections.abc import Callable, Mapping
from functools import partial, reduce
from operator import add
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from potstill.config.ranges import Ranges
from potstill.data.loaders.batch import Batch, check_views, unpack
from potstill.errors import ConfigError
from potstill.heads.base import Head
from potstill.libraries.lightning import datamodule_of
from potstill.models.features.outputs import ModelOutputs
from potstill.tasks.base import Task, check_task
from potstill.tasks.classification import Classification
from potstill.tasks.validation import Validation
from potstill.training.checkpoints.optimizer_state import name_states
from potstill.training.loss_weights import Weighting
from potstill.training.step_metrics import StepMetrics
from potstill.training.steps import accumulated, check_averaging, plan_steps, weight_in_step
from potstill.training.student_teacher import StudentTeacher


class DistillationModule(StudentTeacher):
    """Train `student`; with a teacher and heads, distil into it. Without, this is plain training.

    The loss is `(1 - alpha) * task + alpha * sum(response heads) + sum(weight * other heads)`;
    with `alpha=None` it is `task_weight * task + sum(weight * heads)`, each head with its own
    weight or else its authors'.

    Batches are `(image, target)` or `(image, target, sample_id)`: image (N, C, H, W), or a
    tuple of such for several views; target as the task takes it, for classification (N,) class
    indices or (N, K) probabilities.

    Args:
        student: what is trained; images in, outputs (N, K) out, alone or among others.
        teacher: what it learns from; frozen here, never saved.
        heads: distillation losses by name.
        alpha: share of the response heads, in [0, 1]; None for free weights.
        task_weight: weight of the task loss, only with `alpha=None` (default 1).
        label_smoothing: of classification, in [0, 1]; another task has settings of its own.
        task: what the outputs mean: loss, scores, agreement; classification without one.
        optimizer: parameters -> optimizer.
        scheduler: (optimizer, total_steps, steps_per_epoch) -> scheduler stepped every step.
        image_shape: (C, H, W), for probing layer shapes.
        channels_last: lay the weights out so while training.
        compiled: compile the student's step; its heads may read no layer of it.

    Attributes:
        step: (module, batch) -> the loss of a batch that takes several passes, as a stage of the
            pipeline may define it; None for one pass.
        record: loss, scores and terms of the steps, as the host knows them.
        num_outputs: K, after `prepare`.

    Raises:
        ConfigError: if settings contradict each other or the networks do not fit.
    """

    ranges: ClassVar[Ranges] = {
        "alpha": "[0, 1]",
        "task_weight": "[0, inf)",
        "label_smoothing": "[0, 1)",
        "image_shape": "[1, inf)",
    }

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        heads: Mapping[str, Head] | None = None,
        alpha: float | None = None,
        task_weight: float | None = None,
        label_smoothing: float = 0.0,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., LRScheduler] | None = None,
        image_shape: tuple[int, ...] = (3, 32, 32),
        channels_last: bool = False,
        compiled: bool = False,
        task: Task | None = None,
    ) -> None:
        if task is not None and label_smoothing:
            raise ConfigError(
                f"module.label_smoothing={label_smoothing}: the task has settings of its own. "
                "Fix: Classification(label_smoothing=...)"
            )
        heads = dict(heads or {})
        super().__init__(student, teacher, heads, image_shape, channels_last, compiled)
        self.weighting = Weighting(heads, alpha if heads else None, task_weight)
        self.task = Classification(label_smoothing) if task is None else check_task(task)
        self.optimizer = optimizer or partial(
            torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
        self.scheduler = scheduler
        self.terms: dict[str, Tensor] = {}
        self.step: Callable[[DistillationModule, Batch], Tensor] | None = None
        self._batch_idx = 0
        self.record = StepMetrics()
        self._teacher_on_val: list[Tensor] = []

    # -- before training ------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Bind the networks; callbacks have changed the student's structure by now."""
        self.prepare(getattr(datamodule_of(self), "train_targets", None))

    def prepare(self, targets: Tensor | None = None) -> None:
        """Bind the networks, and set how many outputs to validate; see `bind_networks`."""
        self.num_outputs = self.bind_networks(targets).logits.shape[1]
        if not hasattr(self, "validation"):
            self.validation = Validation(self.task, self.num_outputs, self.teacher is not None)

    def configure_optimizers(self) -> Any:
        """Return the optimizer over student and adapters, with its schedule by step."""
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        name_states(optimizer, self.named_parameters())
        if self.scheduler is None:
            return optimizer
        schedule = self.scheduler(optimizer, *plan_steps(self.trainer))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_fit_start(self) -> None:
        """Bring the teacher to the device; forget its outputs for another run's images.

        Raises:
            ConfigError: if a callback averages weights wrongly.
        """
        check_averaging(self.trainer.callbacks)  # type: ignore[attr-defined]
        self._place_teacher()
        self.forget_teacher_outputs()

    def forget_teacher_outputs(self) -> None:
        """Drop the teacher's validation outputs: it has changed, or the images have."""
        self._teacher_on_val.clear()

    on_validation_start = on_test_start = StudentTeacher._place_teacher

    # -- training -------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Accumulate as the epoch wants: no hook tells a scheduler of one that is gone on with."""
        trainer: Any = self.trainer
        trainer.accumulate_grad_batches = accumulated(trainer, self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Check the teacher and start the epoch's sums."""
        self._place_teacher()
        self.record.sums.clear()
        if self.cached is not None:
            loader: Any = self.trainer.train_dataloader
            epoch = self.current_epoch
            views = range(loader.viewing.count)
            self.cached.start_epoch(loader.sample_ids(epoch), epoch, views, self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch: of one pass over it, or of those that `step` makes.

        Of the batches that gradients are accumulated over each counts alike, also in an epoch's
        last optimizer step, which may have fewer.
        """
        self.__dict__["_batch_idx"] = batch_idx  # past nn.Module's search for parameters
        loss = self.one_pass(batch) if self.step is None else self.step(self, batch)
        trainer: Any = self.trainer
        if (size := trainer.accumulate_grad_batches) == 1:
            return loss
        weight = weight_in_step(batch_idx, size, trainer.num_training_batches)
        return loss if weight == 1 else loss * weight

    def one_pass(self, batch: Batch) -> Tensor:
        """Return the weighted loss of one pass over a batch, and keep its terms."""
        batch_idx = self._batch_idx
        image, target, sample_id = unpack(batch)
        epoch = self.current_epoch + batch_idx / max(float(self.trainer.num_training_batches), 1.0)
        weights = self.weighting.at(epoch)
        heads = {name: head for name, head in self.heads.items() if weights[name] != 0}
        # The teacher first: what it takes for a moment is free again when the student needs most.
        teacher = self._forward_teacher(image, sample_id) if heads else None
        student = self._forward_views(self._student_extractor, image, sample_id)
        raw = {"task": self._task(student, target)}
        for name, head in heads.items():
            check_views(name, head, 1 + len(student.views))
            head.__dict__["epoch"] = epoch  # past nn.Module's search for parameters
            raw[name] = head(student, teacher, target)
        self.terms = {name: weights[name] * value for name, value in raw.items()}
        loss = reduce(add, self.terms.values())
        self._record(loss, raw, student.logits, target, batch_idx)
        return loss

    def _task(self, student: ModelOutputs, target: Tensor) -> Tensor:
        if not student.views:
            return self._task_of(student, target)
        losses = [self._task_of(view, target) for view in (student, *student.views)]
        return torch.stack(losses).mean()

    def _task_of(self, view: ModelOutputs, target: Tensor) -> Tensor:
        return self.task.loss(view.promoted().logits, target)

    def _record(
        self, loss: Tensor, raw: dict[str, Tensor], logits: Tensor, target: Tensor, batch_idx: int
    ) -> None:
        """Keep running sums on the device; the loggers see them at the end of the epoch."""
        scores = self.task.step_scores(logits.detach(), target)
        values = {"loss": loss, **scores, **raw}
        values |= {f"{name}_weighted": term for name, term in self.terms.items()}
        trainer: Any = self.trainer
        is_due = batch_idx % (trainer.log_every_n_steps or 1) == 0
        if self.record.add(self.global_step, values, is_due):
            self._log_glance()
        # What is logged for a bar costs every step, and a GPU is waited for.
        if is_due and (bar := trainer.progress_bar_callback) and not hasattr(bar, "glances"):
            shown = {self.task.scoring.short(name): value for name, value in scores.items()}
            self.log_dict({"loss": loss.detach(), **shown}, prog_bar=True, logger=False)

    def _log_glance(self) -> None:
        """Give the numbers of a recent step to the loggers, but for those that keep epochs."""
        known = self.record.glance
        for logger in self.loggers:
            if not getattr(type(logger), "keeps_epochs_alone", False):
                values = {f"train/{name}_step": value for name, value in known.values.items()}
                logger.log_metrics(values, step=known.step)

    def on_train_batch_end(self, *_: Any) -> None:
        """Let go of the graph."""
        self.terms = {}

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means."""
        means = self.record.means(self.global_step - 1)
        self.log_dict({f"train/{name}": value for name, value in means.items()}, sync_dist=True)
        if self.cached is not None:
            self.cached.store.flush()
            if self.trainer.world_size > 1:
                self.trainer.strategy.barrier()
                self.cached.store.reload()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the epoch's sums, those of every rank: (world, M)."""
        state = self.record.sums.state_dict()
        if state["total"] is not None:
            totals = self.trainer.strategy.all_gather(state["total"])
            state["total"] = totals.reshape(self.trainer.world_size, -1)
        checkpoint["epoch_sums"] = state
        if self.cached is not None:  # or a resumed run would round other batches than this one
            self.cached.store.flush()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the epoch's sums of this rank."""
        state = dict(checkpoint["epoch_sums"])
        if state["total"] is not None:
            state["total"] = state["total"][self.global_rank]
        self.record.sums.load_state_dict(state)

    # -- validation -----------------------------------------------------------------------

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the task's metrics and, with a teacher, how far the two agree."""
        image, target, _ = unpack(batch)
        logits = self(image).float()
        teacher = None if self.teacher is None else self._teacher_logits(image, batch_idx)
        self.validation.update(logits, target, self.task.loss(logits, target), teacher)

    def _teacher_logits(self, image: Tensor, batch_idx: int) -> Tensor:
        """Return the teacher's logits; it sees the validation images once a run."""
        if batch_idx >= len(self._teacher_on_val):
            assert self.teacher is not None
            self._teacher_on_val.append(self.teacher.network(image).float().cpu())
        return self._teacher_on_val[batch_idx].to(image.device)

    def on_validation_epoch_end(self) -> None:
        """Log what validation found."""
        values = self.validation.finish()
        self.log_dict(values)
        scoring = self.task.scoring
        shown = f"val_{scoring.short(scoring.main.name)}"
        self.log_dict({shown: values[scoring.monitor]}, prog_bar=True, logger=False)
