"""A sealed file comes back as it was, or is refused in one line."""

import hashlib
import json

import pytest

from potstill.errors import DataError
from potstill.integrity.sealed import parse, read_sealed, seal, seal_text, unseal, write_sealed

CONTENT = {"name": "é\n", "numbers": [0.1, 1e-05, 3], "nested": {"none": None}}


@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"indent": 1, "ensure_ascii": False}])
def test_content_comes_back(tmp_path, layout):
    path = write_sealed(tmp_path / "a.json", CONTENT, **layout)
    assert read_sealed(path) == CONTENT
    assert json.loads(path.read_text())["version"] == 1  # and is JSON for everybody else


def test_the_checksum_is_of_the_text_before_it():
    text = seal(CONTENT)
    before, _, rest = text.rpartition(', "content_sha256": "')
    assert rest[:64] == hashlib.sha256(before.encode()).hexdigest()
    assert seal_text('{"version": 1, "a": 2}') == seal({"a": 2})


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_noticed(bit):
    text = seal({"step": 5, "lr": 1e-05, "name": "é"}, indent=1).encode()
    for place in range(len(text)):
        flipped = bytearray(text)
        flipped[place] ^= 1 << bit
        with pytest.raises(DataError, match=r"^here: damaged.*Fix: copy it again"):
            unseal(bytes(flipped), "here")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{" * 10_000,
        "[" * 100_000,
        '{"a":' * 100 + "1" + "}" * 100,
        '{"version": 1}',
        '{"content_sha256": null}',
        '{"a": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_such_file_is_one_line(text):
    with pytest.raises(DataError, match=r"^here: damaged .* Fix: .*") as caught:
        unseal(text, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [0, 2, -1, "1", None, True])
def test_another_version_is_refused(version):
    with pytest.raises(DataError, match="Fix: a newer potstill"):
        unseal(seal({}, version), "here")


def test_what_is_older_is_read_with_a_line(caplog):
    assert unseal('{"a": 1}', "an old one") == {"a": 1}
    assert "an old one: from before files had a sha256" in caplog.text


def test_what_is_too_long_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr("potstill.integrity.sealed.LARGEST", 8)
    (tmp_path / "a.json").write_text('{"a": 100}')
    with pytest.raises(DataError, match="10 bytes, at most 8 are read"):
        read_sealed(tmp_path / "a.json")
    with pytest.raises(ValueError, match="at most 8"):
        parse('{"a": 100}')
    monkeypatch.undo()
    with pytest.raises(DataError, match="Is a directory"):
        read_sealed(tmp_path)
