"""docs/keys.md has every key, as ``tools/keys_page.py`` writes it."""

from conftest import ROOT
from keys_page import LINKS, RULES, described, page

from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.config.objective import ADDED_DEFAULTS


def test_every_key_is_described_once():
    """A key that came with a loss term or an operator has its default and its meaning there."""
    keys = [key for section in described().values() for key in section]
    assert sorted(keys) == sorted(set(RULES) - set(ADDED_DEFAULTS))
    assert set(KEYS) - set(ADDED_DEFAULTS) <= set(keys)
    assert set(LINKS) <= set(keys)


def test_the_page_of_keys_is_current():
    assert (ROOT / "docs" / "keys.md").read_text(encoding="utf-8") == page()
