"""Where the configs are: at the top of a checkout, inside an installed package."""

from potstill.config import location
from tests.support.places import CONF


def test_a_checkout_has_them_at_its_top():
    assert location.conf_folder() == CONF


def test_an_installed_package_carries_them(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "potstill"
    (package / "conf").mkdir(parents=True)
    monkeypatch.setattr(location, "PACKAGE", package)
    assert location.conf_folder() == package / "conf"
