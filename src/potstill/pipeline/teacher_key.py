"""Key of a run's own teacher in the registry, by all that its weights depend on."""

from collections.abc import Mapping
from typing import Any

from potstill.artifact.legacy import with_module_paths
from potstill.config.kinds import nodes
from potstill.config.names import by_name
from potstill.config.plugins import fingerprints
from potstill.distributed import collectives
from potstill.pipeline.context import RunContext
from potstill.teacher.registry import RegisteredTeacher
from potstill.training.checkpoints.identity import counts

# Teachers kept before there was any other have its settings in their key, and no name of it.
FIRST_TASK = "Classification"


def registered_teacher(run: RunContext) -> RegisteredTeacher:
    """Return where a teacher of these settings is kept: where an older version did, if it did."""
    store, settings = run.cfg.teacher.store_dir, by_name(teacher_settings(run))
    old = RegisteredTeacher(store, with_module_paths(settings))
    return old if collectives.broadcast(old.exists) else RegisteredTeacher(store, settings)


def teacher_settings(run: RunContext) -> dict[str, Any]:
    """Return everything the teacher's weights depend on, as plain values."""
    cfg = run.settings
    plugins = {name: digest for name, digest in fingerprints().items() if _names(cfg, name)}
    task = {key: value for key, value in cfg["task"].items() if key != "_target_"}
    if by_name(cfg["task"])["_target_"] != FIRST_TASK:
        task = {"task": cfg["task"]}
    training = {key: cfg["module"][key] for key in ("optimizer", "scheduler")}
    return {
        "model": cfg["module"]["teacher"],
        # The fingerprint is the same for images from a folder and from shards.
        "data": _counting(cfg, "data", without=("_target_", "labels_per_class")),
        "fingerprint": run.data.fingerprint,
        "training": training | task,
        "trainer": _counting(cfg, "trainer", without=("max_epochs",)),
        "kernels": {key: cfg[key] for key in ("channels_last", "compile")},
        "epochs": cfg["teacher"]["epochs"],
        "seed": cfg["seed"],
        "select": cfg["select"],
        **({"plugins": plugins} if plugins else {}),
    }


def _names(cfg: Mapping[str, Any], plugin: str) -> bool:
    """Return whether a teacher's training runs code of the plugin `plugins.NAME`."""
    parts = cfg["module"]["teacher"], cfg["module"]["optimizer"], cfg["module"]["scheduler"]
    called = [str(node["_target_"]) for part in (*parts, cfg["task"]) for _, node in nodes(part)]
    return any(target.partition(".")[0] == plugin.partition(".")[2] for target in called)


def _counting(cfg: Mapping[Any, Any], group: str, without: tuple[str, ...]) -> dict[str, Any]:
    """Return a group's settings that change what is learned; null is as good as left out."""
    return {
        key: value
        for key, value in cfg[group].items()
        if key not in without and value is not None and counts(f"{group}.{key}")
    }
