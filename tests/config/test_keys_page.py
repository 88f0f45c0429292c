"""docs/keys.md has every key, as ``tools/keys_page.py`` writes it."""

from conftest import ROOT
from keys_page import DESCRIPTIONS, RULES, page

from recbole_ec4srec.config.keys import KEYS


def test_every_key_is_described_once():
    described = [key for keys in DESCRIPTIONS.values() for key in keys]
    assert sorted(described) == sorted(RULES)
    assert set(KEYS) <= set(described)


def test_the_page_of_keys_is_current():
    assert (ROOT / "docs" / "keys.md").read_text(encoding="utf-8") == page()
