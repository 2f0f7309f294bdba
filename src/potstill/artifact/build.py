"""Building of a network from its specification, no larger than the file's tensors account for."""

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from potstill.artifact.spec import ModelSpec
from potstill.artifact.transforms import INT8_DYNAMIC, INT8_STATIC, rebuild
from potstill.config.names import builder_target
from potstill.config.plugins import import_from
from potstill.errors import DataError
from potstill.models.features.logits_alone import select_at

SAME_SIZE = (INT8_STATIC, INT8_DYNAMIC)  # transforms after which there are as many weights


log = logging.getLogger("potstill")


class _OverBudget(Exception):
    """More than the file's tensors account for."""


@dataclass
class Budget:
    """Numbers and modules that a network may still have."""

    numbers: int
    modules: int

    @classmethod
    def of(cls, state: Mapping[str, Tensor], spec: ModelSpec) -> "Budget":
        """Return what the tensors of a file account for.

        A network is built dense and with its batch norms; of its channels nearly all may be gone
        in the file.
        """
        factor = 4 if all(entry["kind"] in SAME_SIZE for entry in spec.transforms) else 1000
        numbers = sum(value.numel() for value in state.values())
        return cls(factor * numbers + 2**22, 32 * len(state) + 4000)

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Count what is built meanwhile, and stop it where that is too much."""
        hooks = [
            register_module_parameter_registration_hook(self._count_numbers),
            register_module_module_registration_hook(self._count_modules),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _count_numbers(self, module: nn.Module, name: str, value: Tensor | None) -> None:
        self.numbers -= value.numel() if value is not None else 0
        if self.numbers < 0:
            raise _OverBudget("it has many times the numbers that the file holds")

    def _count_modules(self, module: nn.Module, name: str, value: nn.Module | None) -> None:
        self.modules -= 1
        if self.modules < 0:
            raise _OverBudget("it has many times the layers that the file has tensors for")


def build(
    spec: ModelSpec, source: str = "spec", state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Return a network of this shape with weights that mean nothing yet.

    Args:
        spec: from a file, or of a run.
        source: the file, for messages.
        state: the tensors of the file: before anything takes memory, the network is built without
            any and compared with them.

    Raises:
        DataError: if it cannot be built, or is far larger than the tensors.
    """
    node = {"builder": spec.builder, "kwargs": spec.kwargs}
    try:
        if state is None:
            network = _called(node, source)
        else:
            _rehearse(node, source, Budget.of(state, spec))
            with Budget.of(state, spec).enforced():
                network = _called(node, source)
        for entry in spec.transforms:
            network = rebuild(network, entry)
    except DataError:
        raise
    except Exception as error:  # whatever a builder raises on arguments that it cannot take
        raise _refused(source, error) from error
    return network


def _rehearse(node: dict[str, Any], source: str, budget: Budget) -> None:
    """Build a network that takes no memory; raise where it is over budget."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"), budget.enforced():
        try:
            _called(node, source)
        except _OverBudget:
            raise
        except Exception:
            log.debug(
                "%s: not built without memory", source, exc_info=True
            )  # a plugin's may need it


def _called(value: Any, source: str) -> Any:
    """Return arguments with the networks among them built."""
    if isinstance(value, list):
        return [_called(item, source) for item in value]
    if not isinstance(value, dict):
        return value
    if "builder" not in value:
        return {key: _called(item, source) for key, item in value.items()}
    target = builder_target(value["builder"])
    assert target is not None  # checked when the specification was read
    module, _, name = target.rpartition(".")
    builder = getattr(import_from(module, f"{source}: builder={value['builder']}"), name)
    kwargs = _called(value["kwargs"], source)
    takes = inspect.signature(builder).parameters
    place = None if "output" in takes else kwargs.pop("output", None)  # of the logits
    network = builder(**kwargs)
    return network if place is None else select_at(network, place)


def _refused(source: str, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(
        f"{source}: its network cannot be built ({reason[:300]}). Fix: an artifact of a run"
    )
