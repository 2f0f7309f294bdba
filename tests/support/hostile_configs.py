"""Config files that try to run a command or to write elsewhere: what each is, and its key.

In a file, MARK is a path that must not come to be, and AWAY a folder in which nothing may. `files`
lie in a folder that `--config-dir` names; `evil` is its experiment, `argv` comes after
`experiment=evil`. The line of the refusal must begin with `key`.
"""

from dataclasses import dataclass, field

START = "{_target_: potstill.distributed.launcher.start, command: [touch, MARK], number: 1}"
ARGS = "{_target_: potstill.distributed.launcher.start, _args_: [[touch, MARK], 1]}"
PART = "{_target_: potstill.distributed.launcher.start, command: [touch, MARK], _partial_: true}"
SYSTEM = "{_target_: os.system, command: touch MARK}"
MKDIR = "{_target_: pathlib.Path.mkdir, _args_: [{_target_: pathlib.Path, _args_: [MARK]}]}"
WRITE = "{_target_: potstill.atomic.write_atomically, path: MARK, content: text}"
REPORT = "{_target_: potstill.report.__main__.main, argv: [RUN, --out, MARK]}"
FACTORY = "{formatters: {e: {(): os.system, command: touch MARK}}}"
FILE = "{handlers: {e: {class: logging.FileHandler, filename: MARK}}}"
BASIC = "hydra._internal.core_plugins.basic_"
PRUNE = "potstill.pipeline.stages.prune_channels.PruneChannels"
STOP = "lightning.pytorch.callbacks.EarlyStopping"
SAVE = "lightning.pytorch.callbacks.ModelCheckpoint"
BOARD = "lightning.pytorch.loggers.TensorBoardLogger"
TIMES = "lightning.pytorch.profilers.SimpleProfiler"


@dataclass(frozen=True)
class Hostile:
    """One attempt: its experiment file, other files, what follows on the command line."""

    what: str
    key: str
    evil: str = "{}"
    argv: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    name: str = ""  # of the main config, where it is not the sample's


def _at(key: str, node: str, what: str = "a command", under: str = "") -> Hostile:
    """Return an attempt with `node` at a dotted key of the experiment."""
    text = node
    for part in reversed(key.split(".")):
        text = f"{{{part}: {text}}}"
    return Hostile(f"{what} at {key}", f"{key}{under}", text)


def _option(group: str, text: str, what: str, under: str) -> Hostile:
    """Return an attempt whose file chooses an option of Hydra's that lies beside it."""
    chosen = f"{{defaults: [{{override /hydra/{group}: mine}}]}}"
    file = {f"hydra/{group}/mine.yaml": text}
    return Hostile(f"{what} of a {group}", f"hydra.{group}{under}", chosen, ("-m",), file)


CALLS = [
    *(
        _at(key, START, under="._target_")
        for key in (
            "task", "data", "module", "module.student", "module.teacher", "module.optimizer",
            "module.scheduler", "module.heads.kd", "temperature", "callbacks.x", "logger.x",
            "export.x", "trainer", "trainer.profiler", "trainer.strategy", "trainer.plugins",
            "stages.s.transforms.x", "stages.s.callbacks.x", "budget",
        )
    ),
    _at("callbacks.x", ARGS, "positional arguments", "._target_"),
    _at("callbacks.x", PART, "a partial", "._target_"),
    _at("callbacks.x", f"{{_target_: {STOP}, monitor: {START}}}", "a node within", ".monitor"),
    _at("callbacks.x", f"{{_target_: {STOP}, _args_: [{START}]}}", "an argument", "._args_.0."),
    _at("callbacks.x", f"{{_target_: {STOP}, a: [[{START}]]}}", "a list in a list", "."),
    _at("callbacks.x", f"{{_target_: {STOP}, _recursive_: false, monitor: {START}}}", "later", "."),
    _at("callbacks.x", "'${oc.create:\"" + START + "\"}'", "oc.create", "._target_"),
    _at("callbacks.x", "'${.y}', y: " + START, "a reference", "."),
    _at("callbacks.x", REPORT, "the report's command", "._target_"),
    _at("callbacks.x", WRITE, "a function that writes", "._target_"),
    _at("callbacks.x", SYSTEM, "os.system", "._target_"),
    _at("callbacks.x", "{_target_: lightning.pytorch.callbacks.LambdaCallback, on_fit_start: "
        + PART + "}", "a lambda", ".on_fit_start._target_"),
    _at("callbacks.x", "{_target_: evil.Touch}", "a plugin that nobody named", "._target_"),
    _at("logger.x", MKDIR, "a folder", "._target_"),
    _at("logger.x", f"{{_target_: hydra.utils.instantiate, config: {START}}}", "Hydra's", "."),
    _at("module.student", "{_target_: builtins.eval, _args_: ['1']}", "eval", "."),
    _at("module.student", "{_target_: torch.load, f: MARK, weights_only: false}", "a pickle", "."),
    _at("module.student", "{_target_: torch.hub.load, repo_or_dir: AWAY, model: m}", "a hub", "."),
    _at("module.student", f"{{_target_: torch.nn.Sequential, _args_: [{SYSTEM}]}}", "a layer", "."),
    _at("module.student", "{_target_: functools.partial, _args_: [touch]}", "functools", "."),
    _at("module.heads.kd", "{_target_: runpy.run_path, path_name: AWAY/evil.py}", "a script", "."),
    _at("module", "{_target_: potstill.training.module.DistillationModule.load_from_checkpoint}",
        "a checkpoint's pickle", "._target_"),
    _at("export.x", "{_target_: potstill.artifact.file.save_artifact, path: MARK}", "a file", "."),
    _at("stages.s", f"{{module: {{optimizer: {START}}}}}", "a stage's own", ".module.optimizer."),
    _at("stages.s", f"{{trainer: {{profiler: {START}}}}}", "a stage's own", ".trainer.profiler."),
    _at("stages.s.transforms.x", f"{{_target_: {PRUNE}, criterion: {START}}}", "a criterion",
        ".criterion._target_"),
    _at("data", f"{{_target_: potstill.data.dataset.DatasetData, train: {START}}}", "a set",
        ".train._target_"),
    Hostile("an option of a group", "callbacks.x._target_", argv=("+callbacks=mine",),
            files={"callbacks/mine.yaml": f"{{x: {START}}}"}),
    Hostile("a head's file", "module.heads.mine._target_", argv=("head@module.heads=[mine]",),
            files={"head/mine.yaml": f"{{mine: {SYSTEM}}}"}),
    Hostile("plugins in a file", "CONFIGS/experiment/evil.yaml: plugins=",
            "{plugins: [AWAY/evil.py]}"),
    Hostile("plugins by a sweep's values", "CONFIGS/experiment/evil.yaml: plugins=",
            "{hydra: {sweeper: {params: {plugins: '[AWAY/evil.py]'}}}}", ("-m",)),
]  # fmt: skip

HYDRA = [
    _at("hydra.callbacks.x", START, under="._target_"),
    _at("hydra.callbacks.x", ARGS, "positional arguments", "._target_"),
    _at("hydra.callbacks.x", SYSTEM, "os.system", "._target_"),
    _at("hydra.callbacks.x", "'${oc.create:\"" + START + "\"}'", "oc.create", "._target_"),
    _at("hydra.callbacks.x",
        "{_target_: hydra.experimental.callbacks.PickleJobInfoCallback}", "a pickle", "._target_"),
    Hostile("a sweeper's own", "hydra.sweeper.storage: unknown key 'storage'",
            f"{{hydra: {{sweeper: {{storage: {MKDIR}}}}}}}", ("-m",)),
    *(
        _option(node, f"{{_target_: {BASIC}{node}.Basic{node.title()}, {text}}}", what, under)
        for node, text, what, under in (
            ("launcher", f"folder: {MKDIR}", "a folder", ".folder._target_"),
            ("launcher", "setup: [touch MARK]", "commands", ".setup.0"),
            ("launcher", "submitit_folder: AWAY", "its files", ".submitit_folder"),
            ("sweeper", f"storage: {MKDIR}", "a folder", ".storage._target_"),
            ("sweeper", "storage: 'sqlite:////AWAY/a.db'", "a file", ".storage"),
            ("sweeper", f"sampler: {START}", "a sampler", ".sampler._target_"),
            ("sweeper", f"search_space: {{lr: {SYSTEM}}}", "a search space", ".search_space.lr"),
            ("sweeper", "custom_search_space: evil.configure", "a function", ".custom_search"),
            ("sweeper", "direction: AWAY", "a direction", ".direction"),
            ("sweeper", "study_name: AWAY", "a study", ".study_name"),
            ("sweeper", "params: {seed: 1}, pruner: {_target_: evil.P}", "a pruner", ".pruner"),
        )
    ),
    _option("launcher", START, "a command", "._target_"),
    _option("sweeper", SYSTEM, "a command", "."),
    _at("hydra.sweeper.params", "{hydra.run.dir: AWAY}", "values of Hydra's", ".hydra.run.dir"),
    _at("hydra.sweeper.params", "{+hydra.job.env_set.A: b}", "a value more", ".+hydra.job"),
    _at("hydra.job.env_set", "{PYTHONPATH: AWAY}", "a path of code", ".PYTHONPATH"),
    _at("hydra.job.env_set", "{LD_PRELOAD: AWAY/a.so}", "a library", ".LD_PRELOAD"),
    Hostile("the environment", "hydra.job.env_set.HOME", "{hydra: {job: {env_copy: [HOME]}}}"),
    _at("hydra.mode", "MULTIRUN", "a sweep unasked"),
    Hostile("overrides", "hydra.overrides", "{hydra: {overrides: {task: [name=x]}}}"),
    Hostile("overrides of Hydra", "hydra.overrides",
            "{hydra: {overrides: {hydra: ['hydra.run.dir=AWAY']}}}"),
    *(
        _at(f"hydra.{node}", logging, what, under)
        for node in ("job_logging", "hydra_logging")
        for what, logging, under in (
            ("a formatter", FACTORY, ".formatters.e"),
            ("a filter", "{filters: {e: {(): os.system, command: touch MARK}}}", ".filters.e.()"),
            ("a handler", "{handlers: {e: {(): os.system, command: touch MARK}}}", ".handlers.e"),
            ("oc.create", "'${oc.create:\"" + FACTORY + "\"}'", ".formatters.e"),
            ("a file", FILE, ".handlers.e.filename"),
            ("a handler's class", "{handlers: {e: {class: evil.Touch}}}", ".handlers.e.class"),
            ("a formatter's class", "{formatters: {e: {class: evil.T}}}", ".formatters.e.class"),
            ("an object", "{handlers: {e: {class: logging.StreamHandler, stream: 'ext://evil.x'}}}",
             ".handlers.e.stream"),
            ("an object's name", "{root: {level: 'ext://evil.x'}}", ".root.level"),
            ("a part of itself", "{formatters: {e: {format: 'cfg://a'}}}", ".formatters.e.format"),
            ("attributes", "{handlers: {e: {class: logging.NullHandler, .: {a: b}}}}",
             ".handlers.e.."),
            ("a queue", "{handlers: {e: {class: logging.handlers.QueueHandler, queue: evil.x}}}",
             ".handlers.e."),
        )
    ),
    Hostile("a logging option", "hydra.job_logging.formatters.e", argv=("hydra/job_logging=mine",),
            files={"hydra/job_logging/mine.yaml": "{version: 1, formatters: {e: {(): evil}}}"}),
    Hostile("a logging option of the file's own choice", "hydra.hydra_logging.formatters.e",
            "{defaults: [{override /hydra/hydra_logging: mine}]}",
            files={"hydra/hydra_logging/mine.yaml": FACTORY}),
    Hostile("a sweeper's option", "hydra.sweeper._target_", argv=("hydra/sweeper=mine", "-m"),
            files={"hydra/sweeper/mine.yaml": SYSTEM}),
    Hostile("packages as folders", "hydra.searchpath.0=pkg://evil", name="main",
            files={"main.yaml": "{hydra: {searchpath: ['pkg://evil']}}"}),
    Hostile("packages by reference", "hydra.searchpath.0=pkg://evil", name="main",
            files={"main.yaml": "{a: 'pkg://evil', hydra: {searchpath: ['${a}']}}"}),
]  # fmt: skip

PLACES = [
    Hostile("a name", "name=../../x", "{name: ../../x}"),
    Hostile("a name as a path", "name=/", "{name: AWAY}"),
    Hostile("a name from the environment", "name=/", "{name: '${oc.env:HOME}'}"),
    Hostile("a typed name", "name=../../x", argv=("name=../../x",)),
    Hostile("names of a sweep", "name=../../x",
            "{hydra: {sweeper: {params: {name: 'a,../../x'}}}}", ("-m",)),
    _at("hydra.run.dir", "AWAY", "the run"),
    _at("hydra.run.dir", "outputs/../../x", "the run"),
    _at("hydra.run.dir", ".", "the run"),
    _at("hydra.run.dir", "'${oc.env:HOME}/x'", "the run"),
    _at("hydra.sweep.dir", "AWAY", "a sweep"),
    _at("hydra.sweep.subdir", "../../x", "a job"),
    _at("hydra.sweep.subdir", "AWAY", "a job"),
    _at("hydra.output_subdir", "../../x", "Hydra's files"),
    _at("hydra.output_subdir", "AWAY", "Hydra's files"),
    _at("hydra.runtime.output_dir", "AWAY", "Hydra's folder"),
    _at("hydra.job.name", "../../x", "the log"),
    _at("hydra.job.id", "../../x", "the job"),
    _at("hydra.job_logging.handlers.file.filename", "'${hydra.runtime.output_dir}/../../x'", "log"),
    Hostile("a job's folder of a typed value", "hydra.sweep.subdir=../x",
            "{hydra: {sweep: {subdir: '../${name}'}}}", ("-m", "name=x,y")),
    *(
        _at(key, f"{{_target_: {target}, {name}: {value}}}", target.split(".")[-1], f".{name}=")
        for key, target, name, value in (
            ("callbacks.x", SAVE, "dirpath", "AWAY"),
            ("callbacks.x", SAVE, "dirpath", "checkpoints"),
            ("callbacks.x", SAVE, "dirpath", "file://AWAY"),
            ("callbacks.x", SAVE, "dirpath", "memory://x"),
            ("callbacks.x", SAVE, "filename", "../../x"),
            ("callbacks.x", "lightning.pytorch.callbacks.OnExceptionCheckpoint", "dirpath", "~/x"),
            ("logger.x", BOARD, "save_dir", "AWAY"),
            ("logger.x", BOARD, "save_dir", "outputs/x"),
            ("logger.x", BOARD, "name", "../../x"),
            ("logger.x", BOARD, "version", ".."),
            ("logger.x", BOARD, "sub_dir", "AWAY"),
            ("logger.x", BOARD, "log_dir", "AWAY"),
            ("logger.x", "lightning.pytorch.loggers.WandbLogger", "dir", "AWAY"),
            ("logger.x", "lightning.pytorch.loggers.MLFlowLogger", "tracking_uri", "file:AWAY"),
            ("logger.x", "lightning.pytorch.loggers.MLFlowLogger", "tracking_uri",
             "sqlite:///AWAY/a.db"),
            ("logger.x", "lightning.pytorch.loggers.MLFlowLogger", "artifact_location", "x"),
            ("trainer.profiler", TIMES, "dirpath", "AWAY"),
            ("trainer.profiler", TIMES, "filename", "AWAY/x"),
            ("trainer.strategy", "lightning.pytorch.strategies.DeepSpeedStrategy", "nvme_path",
             "AWAY"),
            ("stages.s.callbacks.x", SAVE, "dirpath", "AWAY"),
            ("data", "potstill.data.cifar.CIFAR", "root", "AWAY"),
        )
    ),
    _at("module.student", "{_target_: potstill.models.timm.timm_model, model_name: resnet18, "
        "num_classes: 10, cache_dir: AWAY}", "timm_model", ".cache_dir="),
    _at("data", "{_target_: potstill.data.imagenet_shards.ImageNetShards, root: data/x, "
        "num_classes: 10, cache: AWAY}", "ImageNetShards", ".cache="),
    _at("logger.x", "{_target_: lightning.pytorch.loggers.WandbLogger, settings: {root_dir: AWAY}}",
        "settings", ".settings.root_dir"),
    Hostile("a stage's profiler", "stages.s.trainer",
            f"{{stages: {{s: {{trainer: {{profiler: {{_target_: {TIMES}, dirpath: AWAY}}}}}}}}}}"),
    _at("trainer.default_root_dir", "AWAY", "the Trainer"),
    _at("callbacks.x", f"{{_target_: {SAVE}, _args_: [checkpoints]}}", "in turn", "._args_.0"),
    _at("data", "{_target_: potstill.data.cifar.CIFAR, _args_: [AWAY]}", "in turn", "._args_.0"),
    _at("teacher.store_dir", "AWAY", "the store"),
    _at("teacher.store_dir", "~/x", "the store"),
    _at("teacher.store_dir", "outputs/../x", "the store"),
]  # fmt: skip

# What a person may have in a file of their own, or type: each of them passes.
HARMLESS = [
    _at("hydra.run.dir", "'outputs/mine/${name}'", "a folder in outputs"),
    _at("hydra.sweep", "{dir: outputs/a, subdir: '${hydra.job.num}_${name}'}", "a sweep's folder"),
    _at("hydra.sweep.subdir", "'${hydra.job.override_dirname}'", "a job's folder"),
    _at("hydra.job", "{name: mine, chdir: true}", "a job's name"),
    _at("hydra.job_logging", "{root: {level: DEBUG}, handlers: {n: {class: logging.NullHandler}}}",
        "more logging"),
    _at("hydra.job_logging.handlers.e", "{class: logging.FileHandler, "
        "filename: '${hydra.runtime.output_dir}/mine.log'}", "a log more"),
    Hostile("a sweep's values", "", "{hydra: {sweeper: {params: {seed: '1,2'}}}}", ("-m",)),
    Hostile("no log", "", "{defaults: [{override /hydra/job_logging: disabled}]}"),
    Hostile("Hydra's own options", "",
            argv=("hydra/job_logging=stdout", "hydra/hydra_logging=none")),
    Hostile("a typed folder", "", argv=("hydra.run.dir=AWAY/run",)),
    Hostile("a sweep's typed folder", "", argv=("-m", "hydra.sweep.dir=AWAY/sweep", "seed=1,2")),
    Hostile("a typed variable", "", argv=("+hydra.job.env_set.A=b",)),
    Hostile("a typed log", "", argv=("+hydra.job_logging.handlers.e={class:logging.FileHandler,"
            "filename:AWAY/a.log}",)),
    Hostile("a typed store", "", argv=("teacher.store_dir=AWAY/store",)),
    Hostile("a typed folder of a file's callback", "",
            f"{{callbacks: {{x: {{_target_: {SAVE}}}}}}}", ("+callbacks.x.dirpath=AWAY/x",)),
    Hostile("a file's folder within a typed one", "",
            f"{{callbacks: {{x: {{_target_: {SAVE}, dirpath: AWAY/run/x}}}}}}",
            ("hydra.run.dir=AWAY/run",)),
    _at("callbacks.x", f"{{_target_: {SAVE}, filename: 'a/{{epoch}}'}}", "a name of checkpoints"),
    _at("logger.x", "{_target_: lightning.pytorch.loggers.MLFlowLogger, "
        "tracking_uri: 'sqlite:///outputs/mlflow.db'}", "MLflow's file"),
    _at("logger.x", "{_target_: lightning.pytorch.loggers.MLFlowLogger, "
        "tracking_uri: 'https://mlflow.lab'}", "MLflow's server"),
    _at("logger.x", f"{{_target_: {BOARD}, name: a, sub_dir: b}}", "a name in the run's folder"),
    _at("data", "{_target_: potstill.data.cifar.CIFAR, root: data/mine}", "a folder of downloads"),
    _at("teacher.store_dir", "outputs/mine", "a store in outputs"),
    _at("name", "lab/run", "a name of two parts"),
]  # fmt: skip
ALL = [*CALLS, *HYDRA, *PLACES]
