"""One training step of a student with a head: its CPU time, and the bytes it needs."""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn

from potstill.config.instantiate import instantiate
from potstill.heads.base import Head
from potstill.models.cifar_resnet import cifar_resnet
from potstill.models.features.extractor import FeatureExtractor
from potstill.models.features.outputs import ModelOutputs

OPTIONS = Path(__file__).parents[1] / "conf" / "head"
NUM_CLASSES, NUM_IMAGES = 100, 50_000  # CIFAR-100: CRD remembers every image


class Step:
    """A training step of a fresh student with one head."""

    def __init__(self, name: str, teacher: nn.Module, batch_size: int) -> None:
        self.head = make_head(name)
        torch.manual_seed(0)
        self.student = cifar_resnet(20, NUM_CLASSES)
        targets = torch.arange(NUM_IMAGES) % NUM_CLASSES
        ours, theirs = zip(*self.head.pairs, strict=True) if self.head.pairs else ((), ())
        self.taps = FeatureExtractor(self.student, ours), FeatureExtractor(teacher, theirs)
        self.head.attach(self.student, teacher, targets)
        self.head.bind(self.taps[0].probe(), self.taps[1].probe())
        self.trained = [*self.student.parameters(), *self._adapters()]
        self.optimizer = torch.optim.SGD(self.trained, lr=1e-3, momentum=0.9)
        self.student.train()
        self.sample_id = torch.randperm(NUM_IMAGES)[:batch_size]
        self.target = targets[self.sample_id]
        self.images = torch.randn(self.head.num_views, batch_size, 3, 32, 32)

    def _adapters(self) -> list[Tensor]:
        return [p for p in self.head.parameters() if p.requires_grad]

    @property
    def num_adapter_parameters(self) -> int:
        """How many numbers the head trains beside the student."""
        return sum(p.numel() for p in self._adapters())

    def seconds(self) -> float:
        """Take one step and return its CPU time."""
        start = time.process_time()
        loss, _ = self._forward()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.process_time() - start

    def num_bytes(self) -> int:
        """Return the bytes that live between the forward and the backward pass.

        Counted, not sampled: the tensors autograd saved, the teacher's signal, and of student
        and adapters the weights, buffers, gradients and momentum. The teacher's weights, the
        same for all heads, and a kernel's workspace are left out.
        """
        alive: dict[int, int] = {}

        def count(value: Tensor, times: int = 1) -> Tensor:
            storage = value.untyped_storage()
            alive[storage.data_ptr()] = times * storage.nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
            loss, teacher = self._forward()
        for signal in (teacher, *teacher.views):
            for value in (signal.logits, *signal.features.values()):
                count(value)
        for buffer in (*self.student.buffers(), *self.head.buffers()):
            count(buffer)
        for parameter in self.trained:
            count(parameter, times=3)
        assert loss.requires_grad  # keeps what was saved alive until here
        return sum(alive.values())

    def _forward(self) -> tuple[Tensor, ModelOutputs]:
        student = self._read(self.taps[0])
        with torch.no_grad():
            teacher = self._read(self.taps[1])
        signals = (student, *student.views)
        losses = [F.cross_entropy(signal.logits, self.target) for signal in signals]
        task = torch.stack(losses).mean()
        return task + self.head.weight_at(0) * self.head(student, teacher, self.target), teacher

    def _read(self, tap: FeatureExtractor) -> ModelOutputs:
        first, *others = (tap(view, self.sample_id) for view in self.images)
        return ModelOutputs(first.logits, first.features, self.sample_id, tuple(others))


def make_head(name: str) -> Head:
    """Return the head of an option file with its defaults."""
    option = OmegaConf.load(OPTIONS / f"{name}.yaml")
    return instantiate(OmegaConf.merge({"temperature": 4.0}, option)[name])
