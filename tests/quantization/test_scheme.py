"""The scheme as plain numbers, and what it refuses."""

import json

import pytest

from potstill.errors import ConfigError
from potstill.quantization.scheme import Scheme


def test_there_and_back_through_json():
    scheme = Scheme(momentum=0.2)
    assert json.loads(json.dumps(scheme.to_dict())) == {"bits": 8, "momentum": 0.2}
    assert Scheme(**scheme.to_dict()) == scheme


@pytest.mark.parametrize(
    "settings", [{"bits": 3}, {"bits": 16}, {"momentum": 0.0}, {"momentum": 1.1}]
)
def test_what_cannot_be_deployed_is_one_line(settings):
    with pytest.raises(ConfigError, match=rf"{next(iter(settings))}.*Fix: ") as caught:
        Scheme(**settings)
    assert "\n" not in str(caught.value)
