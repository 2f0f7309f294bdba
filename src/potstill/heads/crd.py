"""Contrastive representation distillation (CRD, Tian et al. 2019, arXiv:1910.10699)."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head
from potstill.heads.common.adapters import each_pair, unit
from potstill.heads.common.counted_step import Counted, counted_generator
from potstill.heads.common.gather import gather
from potstill.heads.common.schedules import Schedule
from potstill.heads.common.shapes import to_pooled
from potstill.models.features.outputs import ModelOutputs


def nce_loss(log_p: Tensor, num_samples: int) -> Tensor:
    """Return the noise-contrastive loss, eq. 18 (with the authors' 1e-7), averaged over the batch.

    log_p (N, 1 + K) are logarithms of exp(score / T) / Z, the positive first.
    """
    noise = (log_p.shape[1] - 1) / num_samples
    odds = log_p - math.log(noise + 1e-7)  # of the data against the noise
    positive = F.logsigmoid(odds[:, 0])
    negative = F.logsigmoid(-odds[:, 1:]) + math.log(noise / (noise + 1e-7))
    return -(positive.sum() + negative.sum()) / len(log_p)


class ContrastMemory(nn.Module):
    """One embedding an image and network, unit vectors (num_samples, dim), as buffers.

    Together 8 * num_samples * dim bytes, in every checkpoint too: 51 MB for CIFAR, 1.3 GB for
    ImageNet at dim 128; a training step holds a copy of both for the backward pass.
    """

    def __init__(
        self, num_samples: int, dim: int, temperature: float, momentum: float, seed: int
    ) -> None:
        super().__init__()
        self.temperature, self.momentum = temperature, momentum
        self.student: Tensor
        self.teacher: Tensor
        self.log_z: Tensor
        # Seeded apart from the global state, so that every rank starts with the same memory.
        generator = torch.Generator().manual_seed(seed)
        bound = 1 / math.sqrt(dim / 3)
        for name in ("student", "teacher"):
            drawn = torch.rand(num_samples, dim, generator=generator)
            self.register_buffer(name, (2 * drawn - 1) * bound)
        self.register_buffer("log_z", torch.zeros(2))

    def scores(self, student: Tensor, teacher: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return each embedding's scores / T against the other network's memory at `index`.

        Embeddings (N, dim), index and scores (N, 1 + K). Against the whole memory and then
        gathered: N * num_samples values where looking rows up would take N * K * dim.
        """
        sides = ((student, self.teacher), (teacher, self.student))
        # The memory changes before the backward pass reads it, so that sees a copy.
        banks = [bank.clone() if torch.is_grad_enabled() else bank for _, bank in sides]
        ours, theirs = (
            (anchor @ bank.T).gather(1, index) / self.temperature
            for (anchor, _), bank in zip(sides, banks, strict=True)
        )
        return ours, theirs

    @torch.no_grad()
    def normalizer(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Return log Z of both sides, (2,): num_samples * mean of exp(scores), over all ranks."""
        flat = torch.stack([ours.flatten(), theirs.flatten()])
        log_mean = gather(flat.logsumexp(1)[None] - math.log(flat.shape[1]))  # (ranks, 2)
        return log_mean.logsumexp(0) - math.log(len(log_mean)) + math.log(len(self.student))

    @torch.no_grad()
    def update(self, student: Tensor, teacher: Tensor, sample_id: Tensor) -> None:
        """Move the batch's rows towards its embeddings, over all ranks; the last of a row wins."""
        sample_id = gather(sample_id)
        order = sample_id.argsort(stable=True)
        rows, place = sample_id[order], torch.arange(len(order), device=order.device)
        is_last = torch.cat([rows[1:] != rows[:-1], rows.new_ones(1, dtype=torch.bool)])
        # Each gets what the last of its row gets: to leave the others out waits for a GPU.
        ends = torch.where(is_last, place, len(rows)).flip(0).cummin(0).values.flip(0)
        last = order[ends]
        for bank, embedded in ((self.student, student), (self.teacher, teacher)):
            moved = self.momentum * bank[rows] + (1 - self.momentum) * gather(embedded)[last]
            bank.index_copy_(0, rows, F.normalize(moved))


class CRD(Counted, Head):
    """Tell an image's own teacher embedding among those of images of other classes, both ways.

    Both pooled features are embedded (linear, L2 norm; the teacher's embedding is trained too)
    and scored against a memory of the other network's embeddings, see `ContrastMemory`. Z is
    fixed by the first training batch, the memory moves after the loss, both in training only.
    Negatives are distinct where `num_negatives` images of other classes exist, else drawn with
    replacement, as the authors do. They are a function of seed, step and rank; `step` counts
    training calls. Needs the training set's labels and every image's sample id.
    """

    ranges: ClassVar[Ranges] = {
        "embed_dim": "[1, inf)",
        "num_negatives": "[1, inf)",
        "momentum": "[0, 1)",
        "seed": "[0, inf)",
    }

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 0.8
    needs_labels: ClassVar[bool] = True

    def __init__(
        self,
        student: str = "pooled",
        teacher: str = "pooled",
        embed_dim: int = 128,
        num_negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        if len(self.pairs) != 1:
            raise ValueError(f"CRD takes one student and one teacher layer, got {self.pairs}")
        if min(embed_dim, num_negatives) < 1 or temperature <= 0 or not 0 <= momentum < 1:
            raise ValueError(
                "embed_dim, num_negatives and temperature must be positive, momentum in [0, 1), "
                f"got {embed_dim}, {num_negatives}, {temperature}, {momentum}"
            )
        self.embed_dim, self.num_negatives = embed_dim, num_negatives
        self.temperature, self.momentum, self.seed = temperature, momentum, seed
        self.shapes: tuple[int, ...] = ()
        self.labels: Tensor
        self.counts: Tensor
        for name in ("labels", "counts"):  # each image's class, each class's images
            self.register_buffer(name, torch.zeros(0, dtype=torch.int64), persistent=False)
        self.most = 0  # images of one class, known without reading the device

    def attach(self, student: nn.Module, teacher: nn.Module, targets: Tensor | None = None) -> None:
        """Keep the labels by sample id; ValueError without labels or with one class only."""
        if targets is None or targets.dim() != 1 or len(targets.unique()) < 2:
            found = None if targets is None else f"shape {tuple(targets.shape)}"
            raise ValueError(
                "CRD draws negatives of other classes: targets must be one label a training "
                f"image, of two classes or more, got {found}. Fix: data that knows its labels"
            )
        self.labels = targets.to(self.labels.device, torch.int64)
        self.counts = self.labels.bincount()
        self.most = int(self.counts.max())

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build the two embeddings and the memory; equal shapes again change nothing."""
        ((ours, theirs),) = each_pair(self, student, teacher, lambda *pair: pair)
        shapes = (ours[0], theirs[0], len(self.labels))
        if shapes == self.shapes:
            return
        device, dim = student.logits.device, self.embed_dim
        self.embed_student = nn.Linear(shapes[0], dim).to(device)
        self.embed_teacher = nn.Linear(shapes[1], dim).to(device)
        self.memory = ContrastMemory(shapes[2], dim, self.temperature, self.momentum, self.seed)
        self.to(device)
        self.shapes = shapes

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the loss of both sides, a scalar; in training, update Z, memory and step."""
        if student.sample_id is None:
            raise ValueError(
                "CRD looks images up by sample id, and the data gives none. "
                "Fix: data that returns sample ids"
            )
        ((ours, theirs),) = self.features(student, teacher)
        ours, theirs = self.embed_student(to_pooled(ours)), self.embed_teacher(to_pooled(theirs))
        sample_id = student.sample_id.to(ours.device)
        index = torch.cat([sample_id[:, None], self.draw_negatives(sample_id)], dim=1)
        return self.contrast(unit(ours), unit(theirs), index)

    def contrast(self, student: Tensor, teacher: Tensor, index: Tensor) -> Tensor:
        """Return the loss of unit embeddings (N, dim) against `index` (N, 1 + K), then update."""
        ours, theirs = self.memory.scores(student, teacher, index)
        is_first = not self.step
        log_z = self.memory.normalizer(ours, theirs) if is_first else self.memory.log_z
        num_samples = len(self.memory.student)
        loss = nce_loss(ours - log_z[0], num_samples) + nce_loss(theirs - log_z[1], num_samples)
        if self.training:
            self.memory.log_z.copy_(log_z)
            self.memory.update(student, teacher, index[:, 0])
            self.step += 1
        return loss

    def draw_negatives(self, sample_id: Tensor) -> Tensor:
        """Return (N, K) sample ids of other classes than each image's.

        One shuffle serves the batch; every image reads it from a place of its own. All shapes
        are known beforehand, so that a GPU need not be waited for.
        """
        device, wanted = sample_id.device, (len(sample_id), self.num_negatives)
        generator = counted_generator(device, self.seed, self.step)
        shuffled = torch.randperm(len(self.labels), generator=generator, device=device)
        own = self.labels[sample_id]
        others = len(shuffled) - self.counts[own][:, None]  # (N, 1): how many there are
        start = (torch.rand(wanted[0], 1, generator=generator, device=device) * others).long()
        place = (start + torch.arange(wanted[1], device=device)) % others
        if wanted[1] > len(shuffled) - self.most:
            again = torch.rand(wanted, generator=generator, device=device) * others
            place = torch.where(wanted[1] > others, again.long() % others, place)
        return shuffled[self._pass_over(own, shuffled, place)]

    def _pass_over(self, own: Tensor, shuffled: Tensor, place: Tensor) -> Tensor:
        """Turn places among other classes' images (N, K) into places in the whole shuffle."""
        by_class = self.labels[shuffled].argsort(stable=True)  # a class's places, in order
        column, count = torch.arange(self.most, device=own.device), self.counts[own][:, None]
        first = (self.counts.cumsum(0) - self.counts)[own][:, None]
        taken = by_class[(first + column).clamp(max=len(shuffled) - 1)]  # (N, most)
        before = torch.where(column < count, taken - column, len(shuffled))  # others before each
        return place + torch.searchsorted(before, place, right=True)
