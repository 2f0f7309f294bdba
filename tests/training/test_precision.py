"""Precision, layout and compilation: what `auto` means on which device, and what is refused."""

import copy
import shutil

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from potstill.errors import ConfigError
from potstill.training import precision

CPU, CUDA, METAL = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture
def amx(monkeypatch):
    def pretend(there):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": there})
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: there)

    return pretend


@pytest.fixture
def compiler(monkeypatch):
    def pretend(there):
        monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if there else None)

    pretend(True)
    return pretend


def test_matrix_units_are_those_the_system_reports():
    with open("/proc/cpuinfo") as file:
        flags = file.read().split()
    assert precision.has_matrix_units(CPU) == ("amx_tile" in flags)


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_auto_precision_is_bf16_where_there_are_units_for_it(amx, device):
    amx(True)
    assert precision.resolve_precision("auto", device) == "bf16-mixed"
    amx(False)
    assert precision.resolve_precision("auto", device) == "32-true"


def test_other_devices_and_given_precisions_stay(amx):
    amx(True)
    assert precision.resolve_precision("auto", METAL) == "32-true"
    assert precision.resolve_precision("16-mixed", CUDA) == "16-mixed"
    assert precision.resolve_precision("bf16-mixed", CPU) == "bf16-mixed"


def test_float16_on_a_cpu_is_refused_and_not_made_bfloat16():
    with pytest.raises(ConfigError, match=r"trainer\.precision=16-mixed: no float16 .*bf16-mixed"):
        precision.resolve_precision("16-mixed", CPU)


@pytest.mark.parametrize(
    ("device", "given", "expected"),
    [
        (CPU, "32-true", True),
        (CPU, "bf16-mixed", True),
        (CUDA, "bf16-mixed", True),
        (CUDA, "16-mixed", True),
        (CUDA, "32-true", False),
        (METAL, "32-true", False),
    ],
)
def test_auto_layout(device, given, expected):
    assert precision.use_channels_last("auto", device, given) is expected
    assert precision.use_channels_last(not expected, device, given) is not expected


@pytest.mark.parametrize("setting", ["yes", "on", None, 1])
def test_other_settings_are_refused(setting):
    with pytest.raises(ConfigError, match=r"channels_last=.*Fix"):
        precision.use_channels_last(setting, CPU, "32-true")
    with pytest.raises(ConfigError, match=r"compile=.*Fix"):
        precision.use_compile(setting, CPU, 10, "32-true")


def test_layout_changes_strides_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2))
    before, image = copy.deepcopy(network), torch.randn(2, 3, 5, 5)
    parameters = list(network.parameters())
    laid = precision.lay_out(network)
    assert laid is network
    assert all(p is q for p, q in zip(network.parameters(), parameters, strict=True))
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not network[0].weight.is_contiguous()
    for (name, value), (other, expected) in zip(
        network.state_dict().items(), before.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(value, expected)
    torch.testing.assert_close(network(image), before(image))


def test_a_laid_out_network_is_saved_as_any_other():
    network = precision.lay_out(nn.Conv2d(3, 4, 3))
    state = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    plain = nn.Conv2d(3, 4, 3)
    plain.load_state_dict(load(save(state)))
    assert torch.equal(plain.weight, network.weight)


def test_a_long_fit_is_compiled_where_that_pays(amx, compiler):
    amx(True)
    enough = precision.BREAK_EVEN_STEPS
    assert precision.use_compile("auto", CPU, enough, "bf16-mixed")
    assert not precision.use_compile("auto", CPU, enough - 1, "bf16-mixed")
    assert not precision.use_compile("auto", CPU, enough, "32-true")
    assert not precision.use_compile("auto", CPU, enough, "bf16-mixed", ["layer3"])
    amx(False)
    assert not precision.use_compile("auto", CPU, enough, "bf16-mixed")
    amx(True)
    compiler(False)
    assert not precision.use_compile("auto", CPU, enough, "bf16-mixed")


def test_what_is_asked_for_is_done_or_refused(amx, compiler):
    amx(False)
    assert precision.use_compile(True, CPU, 1, "32-true")
    assert not precision.use_compile(False, CPU, 10**6, "bf16-mixed", ["layer3"])
    with pytest.raises(ConfigError, match=r"compile=true: heads read layer3.*Fix"):
        precision.use_compile(True, CPU, 1, "32-true", ["layer3"])
    compiler(False)
    with pytest.raises(ConfigError, match=r"compile=true: nothing here compiles for cpu.*Fix"):
        precision.use_compile(True, CPU, 1, "32-true")


def test_compiling_leaves_the_network_as_it_was(monkeypatch):
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **k: compile(*a, **k, backend="eager"))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    names, modules = list(network.state_dict()), list(network.modules())
    by_hand, image = copy.deepcopy(network), torch.randn(2, 3, 5, 5)
    call = precision.compiled(network)
    for student, run in ((network, call), (by_hand, by_hand)):
        student.train()
        run(image).square().sum().backward()
    torch.testing.assert_close(network[0].weight.grad, by_hand[0].weight.grad)
    torch.testing.assert_close(network[1].running_mean, by_hand[1].running_mean)
    assert list(network.state_dict()) == names
    assert list(network.modules()) == modules
    assert network._compiled_call_impl is None
    network.eval()
    torch.testing.assert_close(call(image), by_hand.eval()(image))
