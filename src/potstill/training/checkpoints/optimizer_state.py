"""Optimizer states by parameter name: a position would fit another tensor after a change."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from potstill.errors import DataError


def name_states(optimizer: Optimizer, named: Iterable[tuple[str, Tensor]]) -> None:
    """Let `optimizer.state_dict()` name the parameters, and loading find them by name."""
    names = {id(parameter): name for name, parameter in named}
    groups = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    order = [name for group in groups for name in group]

    def to_names(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        packed = zip(state["param_groups"], groups, strict=True)
        return {
            "state": {order[index]: value for index, value in state["state"].items()},
            "param_groups": [group | {"params": names} for group, names in packed],
        }

    def to_positions(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        _check([group["params"] for group in state["param_groups"]], groups)
        position = {name: index for index, name in enumerate(order)}
        packed = zip(optimizer.param_groups, state["param_groups"], groups, strict=True)
        return {
            "state": {position[name]: value for name, value in state["state"].items()},
            # Its own settings where none were saved.
            "param_groups": [
                {**own, **saved, "params": [position[name] for name in names]}
                for own, saved, names in packed
            ],
        }

    optimizer.register_state_dict_post_hook(to_names)
    optimizer.register_load_state_dict_pre_hook(to_positions)


def _check(saved: list[list[str]], ours: list[list[str]]) -> None:
    """Raise unless each group has the parameters it was saved with, in whatever order."""
    if [set(group) for group in saved] == [set(group) for group in ours]:
        return
    before, now = ({name for group in groups for name in group} for groups in (saved, ours))
    other = sorted(before ^ now)
    raise DataError(
        f"optimizer state of {len(before)} parameters where the network has {len(now)}: "
        f"{', '.join(other[:3]) or 'other groups'}. Fix: the settings it was saved with"
    )
