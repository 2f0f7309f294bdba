import copy
import math

import pytest
import torch
from torch import nn

from potstill.heads import crd
from potstill.heads.common.shapes import to_pooled
from potstill.heads.crd import CRD, ContrastMemory, nce_loss
from tests.support.feature_cases import DTYPES, GOLDEN, golden, t
from tests.support.tiny_nets import as_outputs, bind, check_networks, cnn, vit

NET = nn.Identity()
LABELS = torch.arange(40) % 4
IDS = torch.tensor(GOLDEN["_inputs"]["crd"]["idx"])


def rows(shape, a, b):
    return nn.functional.normalize(t(shape, a, b))


def official() -> CRD:
    head = CRD(embed_dim=16, num_negatives=5)
    head.memory = ContrastMemory(40, 16, temperature=0.07, momentum=0.5, seed=0).double()
    head.memory.student.copy_(rows((40, 16), 0.17, 0.1))
    head.memory.teacher.copy_(rows((40, 16), 0.19, 0.2))
    return head


def test_official_steps():
    head = official()
    index = torch.tensor(GOLDEN["_inputs"]["crd"]["contrast_idx"])
    embedded = rows((8, 16), 0.23, 0.3), rows((8, 16), 0.29, 0.4)
    losses = [head.contrast(*embedded, index).item() for _ in range(2)]
    assert losses == pytest.approx([golden("crd_step1"), golden("crd_step2")], rel=1e-9)
    assert torch.equal(index[:, 0], IDS)


def features(num=8, widths=(6, 9), dtype=torch.float64):
    return t((num, widths[0]), 0.23, 0.3).to(dtype), t((num, widths[1]), 0.29, 0.4).to(dtype)


def signals(ours, theirs, ids=IDS):
    return as_outputs(("pooled",), [ours], ids), as_outputs(("pooled",), [theirs])


def bound(num=8, labels=LABELS, **settings) -> CRD:
    """A head bound to pooled features of 6 and 9 channels, in float64."""
    torch.manual_seed(0)
    head = CRD(**{"embed_dim": 4, "num_negatives": 7} | settings)
    head.attach(NET, NET, labels)
    head.bind(*signals(*features(num)))
    return head.double()


def call(head, ours, theirs, ids=IDS):
    return head(*signals(ours, theirs, ids), torch.zeros(len(ours)))


def by_hand(head, ours, theirs, ids, negatives):
    """Both sides of the loss in plain Python, Z from this batch."""

    def embedded(linear, feature):
        rows = (feature @ linear.weight.T + linear.bias).tolist()
        return [[x / math.hypot(*row) for x in row] for row in rows]

    num, total = len(head.labels), 0.0
    sides = [
        (embedded(head.embed_student, ours), head.memory.teacher.tolist()),
        (embedded(head.embed_teacher, theirs), head.memory.student.tolist()),
    ]
    for anchors, bank in sides:
        powers = []
        for anchor, own, others in zip(anchors, ids.tolist(), negatives.tolist(), strict=True):
            products = [sum(map(lambda a, b: a * b, anchor, bank[k])) for k in (own, *others)]
            powers.append([math.exp(product / 0.07) for product in products])
        z = num * sum(map(sum, powers)) / (len(powers) * len(powers[0]))
        noise = (len(powers[0]) - 1) / num
        for positive, *rest in powers:
            total -= math.log(positive / z / (positive / z + noise + 1e-7))
            total -= sum(math.log(noise / (p / z + noise + 1e-7)) for p in rest)
    return total / len(ids)


def test_plain_python():
    head = bound()
    ours, theirs = features()
    negatives = head.draw_negatives(IDS)
    expected = by_hand(copy.deepcopy(head), ours, theirs, IDS, negatives)
    assert call(head, ours, theirs).item() == pytest.approx(expected, rel=1e-9)
    assert head.weight_at(0) == 0.8


def test_loss_of_certain_answers_is_zero():
    log_p = torch.full((3, 5), -60.0).double()
    log_p[:, 0] = 60
    assert nce_loss(log_p, 40).item() == pytest.approx(4e-6, rel=1e-3)  # the authors' 1e-7
    assert nce_loss(-log_p, 40).item() > 300


def test_gradient():
    head = bound()
    ours, theirs = features()
    call(head, ours, theirs)  # fixes Z, which is no part of the gradient
    head.eval()
    assert torch.autograd.gradcheck(lambda x: call(head, x, theirs), ours.clone().requires_grad_())


def test_gradient_survives_the_update_of_the_memory():
    grads = []
    for training in (True, False):
        head = bound().train(training)
        ours, theirs = features()
        ours.requires_grad_()
        call(head, ours, theirs).backward()
        assert head.embed_teacher.weight.grad.abs().sum() > 0
        grads.append(ours.grad)
    assert torch.equal(*grads)


def test_memory_moves_after_the_loss():
    head = bound()
    ours, theirs = features()
    before = copy.deepcopy(head.memory.state_dict())
    call(head, ours, theirs)
    for name, embed, feature in [
        ("student", head.embed_student, ours),
        ("teacher", head.embed_teacher, theirs),
    ]:
        embedded = nn.functional.normalize(embed(feature))
        moved = nn.functional.normalize(0.5 * before[name][IDS] + 0.5 * embedded)
        after = head.memory.get_buffer(name)
        torch.testing.assert_close(after[IDS], moved)
        rest = torch.ones(40, dtype=torch.bool).index_fill(0, IDS, False)
        assert torch.equal(after[rest], before[name][rest])


def test_normalizer_is_that_of_the_first_batch():
    head = bound()
    call(head, *features())
    first = head.memory.log_z.clone()
    call(head, *features())
    assert torch.equal(head.memory.log_z, first)
    assert first.abs().min() > 0
    assert head.step == 2


def test_evaluation_changes_nothing():
    head = bound().eval()
    before = copy.deepcopy(head.state_dict())
    first = call(head, *features())
    assert torch.equal(call(head, *features()), first)
    with torch.no_grad():
        assert torch.equal(call(head, *features()), first)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_repeated_image_last_one_wins():
    memory = ContrastMemory(5, 2, 0.07, 0.5, seed=0)
    memory.student.zero_()
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
    memory.update(vectors, vectors, torch.tensor([3, 1, 3, 1]))
    torch.testing.assert_close(memory.student[[1, 3]], torch.tensor([[0.6, 0.8], [-1.0, 0.0]]))
    assert not memory.student[[0, 2, 4]].any()


def test_negatives_are_distinct_and_of_other_classes():
    head = bound(num_negatives=30)
    negatives = head.draw_negatives(IDS)
    assert negatives.shape == (8, 30)
    for own, others in zip(IDS.tolist(), negatives.tolist(), strict=True):
        assert sorted(others) == [k for k in range(40) if k % 4 != own % 4]


def test_more_negatives_than_there_are_come_again():
    head = bound(num_negatives=500)
    for own, others in zip(IDS.tolist(), head.draw_negatives(IDS).tolist(), strict=True):
        counts = [others.count(k) for k in range(40)]
        assert all((n == 0) == (k % 4 == own % 4) for k, n in enumerate(counts))
        assert max(counts) > min(n for n in counts if n) + 3


def test_every_negative_is_as_likely():
    labels = torch.tensor([0] * 5 + [1] * 15 + [2] * 20)
    head, counts = bound(labels=labels, num_negatives=4), torch.zeros(2, 40)
    for step in range(2000):
        head.step = step
        for row, others in enumerate(head.draw_negatives(torch.tensor([0, 7]))):
            counts[row] += torch.bincount(others, minlength=40)
    for row, allowed in enumerate([labels != 0, labels != 1]):
        expected = 8000 / allowed.sum().item()
        deviation = (counts[row][allowed] - expected) / math.sqrt(expected)
        assert deviation.abs().max() < 4
        assert not counts[row][~allowed].any()


def test_resumed_run_goes_on_bit_for_bit():
    head = bound()
    call(head, *features())
    saved = copy.deepcopy(head.state_dict())
    expected = [call(head, *features()).item() for _ in range(2)]
    torch.manual_seed(123)
    other = bound(seed=0)
    other.load_state_dict(saved)
    assert [call(other, *features()).item() for _ in range(2)] == expected
    assert bound(seed=1).draw_negatives(IDS).ne(bound().draw_negatives(IDS)).any()


def test_ranks_keep_one_memory(monkeypatch):
    """Two ranks with half a batch each end where one process with all of it ends."""
    ours, theirs = features()
    negatives = bound().draw_negatives(IDS)
    whole, halves = bound(), [bound(), bound()]
    whole.draw_negatives = lambda ids: negatives
    index = torch.cat([IDS[:, None], negatives], 1)
    vectors = [
        nn.functional.normalize(embed(x)).detach()
        for embed, x in [(whole.embed_student, ours), (whole.embed_teacher, theirs)]
    ]
    expected = call(whole, ours, theirs)
    losses = []
    for rank, head in enumerate(halves):
        part = slice(4 * rank, 4 * rank + 4)
        head.draw_negatives = lambda ids, part=part: negatives[part]
        log_means = []
        for k in (0, 4):
            scores = head.memory.scores(*(v[k : k + 4] for v in vectors), index[k : k + 4])
            log_means.append(torch.stack([s.exp().mean().log() for s in scores]))
        gathered = [torch.stack(log_means), IDS, *vectors]
        monkeypatch.setattr(crd, "gather", lambda local, gathered=gathered: gathered.pop(0))
        losses.append(call(head, ours[part], theirs[part], IDS[part]))
        for name, value in whole.memory.state_dict().items():
            torch.testing.assert_close(head.memory.state_dict()[name], value)
    torch.testing.assert_close(sum(losses) / 2, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["random", "constant", "one", "identical"])
def test_numerics(dtype, case):
    generator = torch.Generator().manual_seed(5)
    ours = 8 * torch.randn(8, 6, generator=generator).double()
    theirs = 8 * torch.randn(8, 9, generator=generator).double()
    if case == "constant":
        ours, theirs = torch.full_like(ours, 8), torch.full_like(theirs, 8)
    if case in ("one", "identical"):
        num = 1 if case == "one" else 8
        ours, theirs = (x[:1].expand(num, -1).contiguous() for x in (ours, theirs))
    ids = IDS[: len(ours)]
    ours, theirs = ours.to(dtype).requires_grad_(), theirs.to(dtype)
    exact = ours.detach().double().requires_grad_()
    head = bound()
    reference = call(copy.deepcopy(head), exact, theirs.double(), ids)
    loss = call(head.float(), ours, theirs, ids)
    torch.testing.assert_close(loss.double(), reference, rtol=1e-5, atol=1e-6)
    (wanted,), (got,) = torch.autograd.grad(reference, exact), torch.autograd.grad(loss, ours)
    rtol = max(1e-4, torch.finfo(dtype).eps)
    atol = rtol * wanted.abs().max().item() + 6e-8
    torch.testing.assert_close(got.double(), wanted, rtol=rtol, atol=atol)


def test_extreme_scores_stay_finite():
    head = bound(temperature=1e-3)
    assert call(head.float(), *(x.float() for x in features())).isfinite()


def test_equal_shapes_keep_what_was_trained():
    head = bound()
    call(head, *features())
    memory, embed = head.memory, head.embed_student
    head.attach(NET, NET, LABELS)
    head.bind(*signals(*features()))
    assert head.memory is memory
    assert head.embed_student is embed


def test_size_of_the_memory():
    memory = ContrastMemory(50000, 128, 0.07, 0.5, seed=0)
    total = sum(bank.numel() * bank.element_size() for bank in (memory.student, memory.teacher))
    assert total == 8 * 50000 * 128 == 51_200_000
    bound_of_uniform = 1 / math.sqrt(128 / 3)
    assert memory.student.abs().max().item() == pytest.approx(bound_of_uniform, rel=1e-4)
    assert memory.student.std().item() == pytest.approx(bound_of_uniform / math.sqrt(3), rel=1e-2)
    assert not torch.equal(memory.student, memory.teacher)
    assert torch.equal(memory.teacher, ContrastMemory(50000, 128, 0.07, 0.5, seed=0).teacher)


def test_maps_and_tokens_are_pooled():
    head = CRD("level-1", "level-1", embed_dim=4, num_negatives=7)
    student, teacher = vit(), cnn()
    ours, theirs = bind(head, student, teacher, LABELS)
    assert head.embed_student.in_features == 12
    images = torch.randn(3, 3, 32, 32)
    ids = IDS[:3]
    student, teacher = ours(images, ids), theirs(images, ids)
    pooled = [to_pooled(s.features["level-1"]) for s in (student, teacher)]
    plain = CRD(embed_dim=4, num_negatives=7)
    plain.attach(NET, NET, LABELS)
    plain.bind(*signals(*pooled, ids))
    plain.load_state_dict(head.state_dict())
    expected = call(plain, *pooled, ids)
    torch.testing.assert_close(head(student, teacher, ids), expected)


@pytest.mark.parametrize(("student", "teacher"), [(cnn, vit), (vit, cnn), (cnn, cnn)])
def test_networks(student, teacher):
    check_networks(CRD(embed_dim=4, num_negatives=3), student(), teacher(seed=1))


def test_data_that_does_not_fit():
    with pytest.raises(ValueError, match=r"one label a training image.*got None\. Fix"):
        CRD().attach(NET, NET, None)
    with pytest.raises(ValueError, match=r"two classes or more, got shape \(5,\)"):
        CRD().attach(NET, NET, torch.zeros(5))
    head = bound()
    with pytest.raises(ValueError, match="the data gives none"):
        call(head, *features(), ids=None)


def test_impossible_pair():
    head = CRD("a", "b")
    head.attach(NET, NET, LABELS)
    ours = as_outputs(("a",), [torch.zeros(2, 7, 3)])
    with pytest.raises(ValueError, match=r"'a' \(2, 7, 3\).*'b' \(2, 5, 2, 2\).*no square map"):
        head.bind(ours, as_outputs(("b",), [torch.zeros(2, 5, 2, 2)]))


def test_settings():
    with pytest.raises(ValueError, match=r"got 128, 0, 0.07, 0.5"):
        CRD(num_negatives=0)
    with pytest.raises(ValueError, match="one student and one teacher"):
        CRD(("a", "b"), ("c", "d"))
