"""A plugin with a task that is no classification: what share of an image a bright square covers."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

from potstill.data.array_data import ArrayData
from potstill.data.loaders.in_memory import Images
from potstill.tasks.base import Task
from potstill.tasks.parts import Chart, NetworkOutputs, Parts
from potstill.tasks.scoring import Score, Scoring

SIDES = range(3, 13)  # pixels


class Squares(ArrayData):
    """Dark noise with one bright square anywhere; its share of the image is the target (N,)."""

    def __init__(self, train_size: int, test_size: int, **settings: Any) -> None:
        super().__init__(num_classes=None, **settings)
        self.sizes = (train_size, test_size)

    def load(self) -> tuple[Images, Images]:
        """Return the (training, test) images."""
        generator = torch.Generator().manual_seed(0)
        return self._draw(self.sizes[0], generator), self._draw(self.sizes[1], generator)

    def _draw(self, count: int, generator: torch.Generator) -> Images:
        size = self.image_size
        images = torch.randint(0, 60, (count, 3, size, size), generator=generator)
        sides = torch.randint(SIDES.start, SIDES.stop, (count,), generator=generator)
        for image, side in zip(images, sides.tolist(), strict=True):
            top, left = torch.randint(0, size - side + 1, (2,), generator=generator).tolist()
            image[:, top : top + side, left : left + side] += 190
        return Images(images.to(torch.uint8), sides.float().square() / size**2)


class Error(MeanSquaredError):
    """The root of the mean squared error, of outputs (N, 1) and targets (N,)."""

    def __init__(self) -> None:
        super().__init__(squared=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        super().update(outputs[:, 0].contiguous(), targets)


class Share(Task):
    """One number for an image, by squared error.

    Args:
        tolerance: how far apart two networks still agree.
    """

    scoring: ClassVar[Scoring] = Scoring(
        "share",
        (
            Score("rmse", "RMSE", mode="min", best="closest"),
            Score("apart", "from teacher", mode="min"),
        ),
        same="same share within the tolerance",
        note="The mean distance from the teacher is on the test set",
    )
    loss_name: ClassVar[str] = "squared error"

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(outputs[:, 0], targets)

    def step_scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the error of a batch."""
        return {"rmse": self.loss(outputs, targets).sqrt()}

    def metrics(self, num_outputs: int) -> dict[str, Metric]:
        """Return the error."""
        return {"rmse": Error()}

    def teacher_metrics(self) -> dict[str, Metric]:
        """Return the distance from the teacher."""
        return {"apart": MeanAbsoluteError()}

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the error."""
        return self.loss(outputs, targets).sqrt().item()

    def evaluate(
        self, outputs: Tensor, targets: Tensor, teacher: Tensor | None = None
    ) -> dict[str, float | None]:
        """Return the error, and the distance from the teacher."""
        apart = None if teacher is None else (outputs - teacher).abs().mean().item()
        return {"rmse": self.score(outputs, targets), "apart": apart}

    def untrained_score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the error of whoever knows the mean alone."""
        return targets.std(correction=0).item()

    def agree(self, ours: Tensor, theirs: Tensor, slack: float = 0.0) -> Tensor:
        """Return where the two are within the tolerance."""
        return (ours - theirs)[:, 0].abs() <= self.tolerance + slack

    def facts(self, data: Any) -> dict[str, Any]:
        """Return what the one output is."""
        return {"output": {"shape": ["batch", 1], "meaning": "share of the image, 0 to 1"}}

    def parts(self, tested: NetworkOutputs) -> Parts:
        """Return the predicted shares over the true ones."""
        points = {
            name: (tested.targets.tolist(), found[:, 0].tolist())
            for name, found in tested.outputs.items()
        }
        return Parts(charts=[Chart("Predicted against true", "true", "predicted", points)])
