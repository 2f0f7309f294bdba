"""Configs made at random: nothing outside of a place's kind is called, whatever stands where."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from potstill.config import instantiate
from potstill.config.calls import check_calls
from potstill.config.hydra_rules import rule_for
from potstill.errors import ConfigError
from tests.config.test_allow_list import REFUSED

# What a person would expect at a place, named by hand; and what else may stand anywhere under it.
LAYERS = ["torch.nn.ReLU", "torch.nn.Identity"]
EXPECTED = {
    "task": ["potstill.tasks.classification.Classification"],
    "module.student": [
        "potstill.models.small_cnn.small_cnn",
        "torchvision.models.resnet18",
        *LAYERS,
    ],
    "module.heads.a": ["potstill.heads.kd.KD", "potstill.heads.dkd.DKD"],
    "module.optimizer": ["torch.optim.SGD", "torch.optim.AdamW"],
    "module.scheduler": ["torch.optim.lr_scheduler.StepLR", "potstill.training.schedules.cosine"],
    "callbacks.a": ["lightning.pytorch.callbacks.EarlyStopping"],
    "logger.a": ["lightning.pytorch.loggers.CSVLogger"],
    "export.a": ["potstill.export.onnx.Onnx"],
    "stages.a.callbacks.b": ["lightning.pytorch.callbacks.EarlyStopping"],
    "trainer": ["lightning.pytorch.Trainer"],
    "trainer.profiler": ["lightning.pytorch.profilers.SimpleProfiler"],
    "budget": [],
    "hydra.callbacks.a": [],
}
PARTS = [*LAYERS, "potstill.heads.common.schedules.Linear"]
ALONE = "potstill.pruning.channels.criteria.taylor.Taylor"
DANGEROUS = [*REFUSED, "potstill.report.__main__.main", "hydra.utils.call", "posix.system", "", "a"]
TARGETS = [*DANGEROUS, *PARTS, ALONE, *(name for names in EXPECTED.values() for name in names)]
KEYS = ["monitor", "a", "temperature", "weight", "head", "criterion", "profiler", "train"]


def _nodes(inner, targets):
    fixed = {"_target_": st.sampled_from(targets)}
    own = {"_partial_": st.booleans(), "_recursive_": st.booleans()}
    own |= {"_args_": st.lists(inner, max_size=2)} | dict.fromkeys(KEYS, inner)
    return st.sets(st.sampled_from(sorted(own)), max_size=2).flatmap(
        lambda keys: st.fixed_dictionaries(fixed | {key: own[key] for key in keys})
    )


def _tree(inner):
    # Harmless parts often, or nothing would ever be called.
    nodes = _nodes(inner, [*PARTS * 20, *TARGETS])
    return nodes | nodes | st.lists(inner, max_size=2) | st.dictionaries(st.just("a"), inner)


INNER = st.recursive(st.integers(0, 3) | st.just("text"), _tree, max_leaves=5)
PLACED = st.sampled_from(sorted(EXPECTED)).flatmap(
    lambda place: st.tuples(st.just(place), _nodes(INNER, [*EXPECTED[place] * 60, *TARGETS]))
)


@pytest.fixture(scope="module")
def called():
    """The (place, dotted name) of everything that instantiation calls; nothing really is."""
    found = []

    def imported(definition, given, kind):
        place = given.partition("._target_=")[0]
        return lambda *args, **kwargs: found.append((place, definition.name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instantiate, "_imported", imported)
        patch.setattr(instantiate, "_bases", lambda kind: (object,))
        yield found


@settings(
    max_examples=2000,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(placed=PLACED)
def test_nothing_outside_its_kind_is_ever_called(called, placed):
    place, config = placed
    called.clear()
    with suppress(ConfigError):
        check_calls(config, tuple(place.split(".")))
        instantiate.instantiate(OmegaConf.create({"root": config}).root, place)
    names = {name for _, name in called}
    assert not names & set(DANGEROUS)
    own = {name for at, name in called if at == place}
    assert {name.rpartition(".")[2] for name in own} <= {
        name.rpartition(".")[2] for name in EXPECTED[place]
    }
    if EXPECTED[place] == []:
        assert not called


@settings(max_examples=1000, derandomize=True, database=None, deadline=None)
@given(placed=PLACED)
def test_a_config_that_passes_holds_nothing_dangerous(placed):
    place, config = placed
    keys = tuple(place.split("."))
    try:
        check_calls(config, keys)
    except ConfigError:
        return
    text = str(config)
    assert not any(f"'{name}'" in text for name in DANGEROUS if "." in name)


HOSTILE = ["/etc/x", "../../x", "ext://os.system", "cfg://x", "evil.Touch", "touch x", "~/x"]
# Places under `hydra` where any text may stand: nothing is made of it but text, or Hydra's own
# comes over it, or another check has it.
OPEN = {"help", "hydra_help", "verbose", "runtime", "overrides", "callbacks", "searchpath"}
OPEN_BELOW = {("job", "override_dirname"), ("job", "config_name"), ("job", "config")}
OPEN_BELOW |= {("job", "chdir"), ("job", "num"), ("sweeper", "params")}
# Names, and folders in the run's: a text that leads nowhere else is one.
NAMES = {("sweep", "subdir"), ("output_subdir",), ("job", "name"), ("job", "id")}
WORDS = [
    "run",
    "dir",
    "sweep",
    "subdir",
    "launcher",
    "sweeper",
    "params",
    "_target_",
    "setup",
    "()",
]
WORDS += [
    "job",
    "env_set",
    "env_copy",
    "name",
    "job_logging",
    "hydra_logging",
    "handlers",
    "a",
    ".",
]
WORDS += ["class", "filename", "stream", "formatters", "filters", "root", "level", "env", "mode"]


@settings(max_examples=2000, derandomize=True, database=None, deadline=None)
@given(
    keys=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), value=st.sampled_from(HOSTILE)
)
def test_hydra_takes_no_hostile_text_of_a_file(tmp_path_factory, keys, value):
    rule = rule_for(keys)
    if rule is None or not rule.holds(value, tmp_path_factory.getbasetemp()):
        return
    if keys[0] in OPEN or tuple(keys[:2]) in OPEN_BELOW:
        return
    if tuple(keys[:2]) in NAMES:
        assert not value.startswith(("/", ".."))
        return
    # Formats, levels and names of logging are text, whatever they hold.
    assert keys[0].endswith("_logging")
    assert "://" not in value
    assert not {"class", "filename", "stream", "()", "."} & set(keys[-1:])
