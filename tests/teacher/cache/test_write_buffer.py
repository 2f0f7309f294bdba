"""The growing buffer against a plain list."""

import torch

from potstill.teacher.cache import write_buffer
from potstill.teacher.cache.encoding import Encoding
from potstill.teacher.cache.write_buffer import WriteBuffer


def test_like_a_list(monkeypatch):
    monkeypatch.setattr(write_buffer, "SMALLEST", 2)
    buffer, rows, values = WriteBuffer(Encoding(2).empty(0)), [], []
    for count in (1, 0, 3, 7, 2):
        new = torch.arange(count) + 10 * len(rows)
        logits = torch.stack([new, -new], 1).half()
        places = buffer.add(new, {"logits": logits})
        assert places.tolist() == list(range(len(rows), len(rows) + count))
        rows += new.tolist()
        values += logits.tolist()
        found_rows, found = buffer.take()
        assert (found_rows.tolist(), found["logits"].tolist()) == (rows, values)
        assert buffer.count == len(rows)
