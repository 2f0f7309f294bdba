"""Schema of the root config: a key that is not declared here is an error."""

import secrets
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, ClassVar, get_args, get_origin

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from potstill.config.choices import LOOPS, SELECTIONS, STORES, SWITCH
from potstill.config.offers import offered
from potstill.config.options import list_options
from potstill.config.program import program
from potstill.config.ranges import Ranges


@dataclass
class TeacherSettings:
    """Training, registration and verification of a teacher without weights.

    Attributes:
        epochs: of fine-tuning on the task's own data.
        seed: of its training, so that runs of many seeds share one teacher; null for the run's.
        store_dir: the folder of trained teachers and their cached outputs.
        store: keep the teacher's outputs and replay them: auto, off, read or refresh.
        precision: of the cached outputs, float16 or float32.
        top_k: how many logits an image keeps, for many classes; null for all.
        accuracy: the recorded accuracy, a fraction.
        tolerance: how far under `accuracy` a teacher may test, a fraction.
        rounding: how far its logits may move, relative to the largest, when it runs in a
            folded copy; 0 runs it as it is.
    """

    ranges: ClassVar[Ranges] = {
        "epochs": "[0, inf)",
        "store_dir": "not empty",
        "store": STORES,
        "precision": ("float16", "float32"),
        "top_k": "[1, inf)",
        "accuracy": "[0, 1]",
        "tolerance": "[0, 1]",
        "rounding": "[0, 1]",
        "seed": "[0, 4294967295]",  # numpy's
    }
    epochs: int = 20
    seed: int | None = None
    store_dir: str = "outputs/teachers"
    store: str = "auto"
    precision: str = "float16"
    top_k: int | None = None
    accuracy: float | None = None
    tolerance: float = 0.03
    rounding: float = 0.02


@dataclass
class StageSettings:
    """What is done to a network after it was distilled; one row of the table.

    Attributes:
        start: the row whose network it starts from; null: the stage before, at first the student.
        epochs: of training, after the last step of a transform that goes by steps; 0 for
            transforms that need none.
        epochs_between: of training after each earlier step.
        distil: keep the teacher and its heads; else train on labels alone.
        module: settings of the module that differ in this stage, such as `optimizer.lr`.
        trainer: settings of the trainer that differ.
        transforms: what is done to the network, by name, in order; none: it is trained on.
        callbacks: Lightning callbacks of this stage's training, beside the run's own.
    """

    ranges: ClassVar[Ranges] = {"epochs": "[0, inf)", "epochs_between": "[1, inf)"}
    start: str | None = None
    epochs: int = 1
    epochs_between: int = 1
    distil: bool = True
    module: Any = None
    trainer: Any = None
    transforms: Any = None
    callbacks: Any = None


@dataclass
class Config:
    """One run. Nodes typed `Any` hold a `_target_`, or a mapping of such nodes by name."""

    ranges: ClassVar[Ranges] = {
        "name": "not empty",
        "seed": "[0, 4294967295]",  # numpy's
        "alpha": "[0, 1]",
        "select": SELECTIONS,
        "threads": "[1, inf)",
        "channels_last": SWITCH,
        "compile": SWITCH,
        "loop": LOOPS,
        "process_timeout": "(0, inf)",
    }
    name: str = MISSING
    seed: int = 0
    temperature: Any = 4.0
    alpha: float | None = 0.5
    baseline: bool = True
    resume: bool = False
    resume_allow: list[str] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)  # see config/plugins.py
    select: str = "last"
    threads: int | None = None
    channels_last: Any = "auto"
    compile: Any = "auto"
    loop: str = "auto"
    process_timeout: float = 600.0
    task: Any = MISSING
    data: Any = MISSING
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    module: Any = MISSING
    stages: dict[str, StageSettings] = field(default_factory=dict)
    export: Any = None
    budget: Any = None
    callbacks: Any = None
    trainer: Any = MISSING
    logger: Any = None


def register() -> None:
    """Make `schema` and the resolvers of conf/hydra/default.yaml known to Hydra."""
    ConfigStore.instance().store("schema", node=unconverted(Config))
    # Cached in the config, so that a sweep's jobs agree on the folder, in worker processes too.
    OmegaConf.register_new_resolver("potstill_unique", _unique, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("potstill_options", _options, replace=True)
    OmegaConf.register_new_resolver("potstill_program", lambda: " ".join(program()), replace=True)


def unconverted(schema: type) -> Any:
    """Return the same schema with switches of any type, for `validate` to check them.

    OmegaConf would take 2 for true.
    """

    def typed(given: Any) -> Any:
        if get_origin(given) is dict:  # of schemas by name
            return dict[str, unconverted(get_args(given)[1])]  # type: ignore[misc]
        return Any if given is bool else given

    copies = [copy(item) for item in fields(schema)]  # a field belongs to one class
    return make_dataclass(schema.__name__, [(it.name, typed(it.type), it) for it in copies])


def _unique() -> str:
    return secrets.token_hex(3)


def _options(sources: Sequence[Any]) -> str:
    folders = [source.path for source in sources if source.schema == "file"]
    # The text becomes part of a string.Template, where a lone dollar is an error.
    return "\n".join([list_options(folders), *offered()]).replace("$", "$$")


register()  # on import, for a launcher's worker processes
