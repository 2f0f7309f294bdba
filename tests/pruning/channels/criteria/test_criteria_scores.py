"""Each criterion's scores against torch-pruning, plain Python or a hand calculation."""

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional as F
from torch_pruning.pruner.importance import FPGMImportance

from potstill.errors import ConfigError
from potstill.pruning.channels.criteria.batch_norm_scale import BatchNormScale
from potstill.pruning.channels.criteria.fpgm import FPGM
from potstill.pruning.channels.criteria.hessian import Hessian
from potstill.pruning.channels.criteria.l1_magnitude import L1Magnitude
from potstill.pruning.channels.criteria.l2_magnitude import L2Magnitude
from potstill.pruning.channels.criteria.lamp import LAMP
from potstill.pruning.channels.criteria.mean_activation import MeanActivation
from potstill.pruning.channels.criteria.random import Random
from potstill.pruning.channels.criteria.taylor import Taylor
from potstill.pruning.channels.groups import eval_copy, find_groups
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.statistics import preserve_state
from potstill.pruning.channels.target import Target
from potstill.pruning.scores import lamp
from tests.support.pruned_nets import IMAGE, SMALL, build, data, make_images

NAMES = ["resnet_basic", "resnet_bottleneck", "densenet", "vgg"]
BATCHES = data(batches=3, size=4)


def groups_of(name):
    net = build(SMALL[name])
    return net, find_groups(eval_copy(net), IMAGE)


def their_scores(net, group, importance):
    graph = tp.DependencyGraph().build_dependency(net, [make_images(1)], verbose=False)
    module = net.get_submodule(group.members[0].path)
    prune = graph.get_pruner_of_module(module).prune_out_channels
    return importance(graph.get_pruning_group(module, prune, list(range(group.width))))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (L1Magnitude(), tp.importance.GroupMagnitudeImportance(p=1)),
        (L2Magnitude(), tp.importance.GroupMagnitudeImportance(p=2)),
        (LAMP(), tp.importance.LAMPImportance()),
        (BatchNormScale(), tp.importance.BNScaleImportance(normalizer=None)),
    ],
    ids=["l1", "l2", "lamp", "batch_norm_scale"],
)
def test_scores_are_torch_prunings(name, ours, theirs):
    net, groups = groups_of(name)
    for group in groups:
        wanted, found = their_scores(net, group, theirs), ours(group)
        if wanted is None:
            assert found is None
        else:
            torch.testing.assert_close(found.float(), wanted.detach(), rtol=1e-4, atol=1e-6)


def test_lamp_by_hand():
    squares = torch.tensor([4.0, 1.0, 3.0])
    torch.testing.assert_close(lamp(squares), torch.tensor([4 / 4, 1 / 8, 3 / 7]))


def test_fpgm_is_the_sum_of_distances_to_the_other_filters():
    net = build(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1)))
    (group,) = find_groups(eval_copy(net), IMAGE)
    filters = net[0].weight.detach().flatten(1).double().tolist()
    sums = [
        sum(sum((a - b) ** 2 for a, b in zip(f, g, strict=True)) ** 0.5 for g in filters)
        for f in filters
    ]
    mean = sum(sums) / len(sums)
    assert FPGM()(group).tolist() == pytest.approx([s / mean for s in sums], rel=1e-9)
    # torch-pruning's own squares the weights first, which is another criterion.
    theirs = their_scores(net, group, FPGMImportance())
    assert not torch.allclose(theirs.double(), FPGM()(group), rtol=0.01)


def test_taylor_and_obd_see_what_removing_a_channel_costs():
    """The loss is linear in the last layer's inputs, so that the first order is all there is."""
    net = build(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2)))
    images = torch.randn(6, 3, 1, 1, generator=torch.Generator().manual_seed(3))
    batches = [(images[:2], torch.zeros(2)), (images[2:], torch.zeros(4))]

    def loss(logits, target):
        return logits[:, 0].mean()

    groups = find_groups(eval_copy(net), (3, 1, 1))
    taylor, squares = Taylor(), torch.zeros(4)
    taylor.observe(net, batches, loss)
    with torch.no_grad():
        for image, target in batches:
            whole = loss(net(image), target)
            for channel in range(4):
                cut = build(lambda: nn.Sequential(*net))
                saved = cut[2].weight.clone()
                cut[2].weight[:, channel] = 0
                squares[channel] += (loss(cut(image), target) - whole).square()
                cut[2].weight.copy_(saved)
    # Twice: once as the convolution's output, once as the linear layer's input.
    wanted = 2 * squares.double() / 2
    torch.testing.assert_close(taylor(groups[0]), wanted, rtol=1e-4, atol=1e-9)


def test_hessian_is_half_the_mean_square_of_a_images_gradient_times_the_weights():
    net = build(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 5)))
    images = torch.randn(7, 3, 1, 1, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(7) % 5
    (group,) = find_groups(eval_copy(net), (3, 1, 1))
    hessian = Hessian()
    hessian.observe(net, [(images[:3], labels[:3]), (images[3:], labels[3:])], F.cross_entropy)
    wanted = torch.zeros(4)
    for image, label in zip(images, labels, strict=True):
        grads = torch.autograd.grad(
            F.cross_entropy(net(image[None]), label[None]), list(net.parameters())
        )
        weight, bias, after = net[0].weight, net[0].bias, net[3].weight
        wanted += (grads[0] * weight).square().flatten(1).sum(1).detach() / 14
        wanted += (grads[1] * bias).square().detach() / 14
        wanted += (grads[2] * after).square().sum(0).detach() / 14
    torch.testing.assert_close(hessian(group).float(), wanted, rtol=1e-4, atol=1e-9)


def test_mean_activation_counts_all_batches_of_any_size():
    net = build(SMALL["vgg"])
    groups = find_groups(eval_copy(net), IMAGE)
    images = torch.cat([image for image, _ in BATCHES])
    uneven = [(images[:1], torch.zeros(1)), (images[1:], torch.zeros(11))]
    criterion = MeanActivation()
    criterion.observe(net.train(), uneven, None)  # judged in eval mode all the same
    net.eval()
    with torch.no_grad():
        maps = net[:4](images)  # what the second convolution reads
        hidden = net[:15](images)  # what the second linear layer reads
    for path, wanted in (("0", maps.abs().mean((0, 2, 3))), ("13", hidden.abs().mean(0))):
        found = criterion(next(group for group in groups if group.name == path))
        torch.testing.assert_close(found.float(), wanted / wanted.mean(), rtol=1e-5, atol=1e-6)


def test_random_depends_on_seed_and_layer_only():
    _, groups = groups_of("vgg")
    torch.manual_seed(1)
    first = Random(seed=3)(groups[0])
    state = torch.get_rng_state()
    assert torch.equal(first, Random(seed=3)(groups[0]))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, Random(seed=4)(groups[0]))
    assert not torch.equal(first[:16], Random(seed=3)(groups[-1])[:16])


@pytest.mark.parametrize("criterion", [MeanActivation, Taylor, Hessian])
def test_observing_leaves_no_trace(criterion):
    net = build(SMALL["mobilenet_v3"]).train()
    net.classifier[0].eval()
    net.features[0][0].weight.requires_grad_(False)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    criterion().observe(net, BATCHES, F.cross_entropy)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert all((p.grad == 1).all() for p in net.parameters())
    assert not net.features[0][0].weight.requires_grad
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_undisturbed_restores_after_an_error_too():
    net = build(SMALL["vgg"]).train()

    def fail():
        with preserve_state(net):
            net[1].running_mean.add_(1)
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert net.training
    assert torch.equal(net[1].running_mean, build(SMALL["vgg"])[1].running_mean)


def test_numbers_that_are_not_finite_are_refused():
    class Broken(L2Magnitude):
        def __call__(self, group):
            return torch.full((group.width,), float("nan"))

    net = build(SMALL["vgg"])
    with pytest.raises(ConfigError, match="has scores that are not finite"):
        prune_channels(net, IMAGE, Broken(), Target(ratio=0.5))
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ConfigError, match="outputs are not finite"):
        prune_channels(net, IMAGE, L2Magnitude(), Target(ratio=0.5))
