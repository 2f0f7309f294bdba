import torch

from potstill.heads.common.non_target import labels, log_odds, non_target, target_logit
from tests.support.response_inputs import ZS, Y


def test_labelled_class_and_the_others_by_plain_lists():
    rows = list(zip(ZS.tolist(), Y.tolist(), strict=True))
    assert target_logit(ZS, Y).tolist() == [row[y] for row, y in rows]
    assert non_target(ZS, Y).tolist() == [row[:y] + row[y + 1 :] for row, y in rows]


def test_log_odds_of_softmax():
    p = ZS.softmax(1).gather(1, Y[:, None]).squeeze(1)
    torch.testing.assert_close(log_odds(ZS, Y), torch.special.logit(p), rtol=1e-10, atol=1e-10)


def test_labels_of_probabilities():
    assert labels(torch.tensor([[0.1, 0.9], [0.8, 0.2]])).tolist() == [1, 0]
    assert labels(Y) is Y
