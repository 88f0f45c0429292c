"""Pages from the files of ``templates/``, which escape all that is put into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recbole_ec4srec.errors import printable


def render(template: str, **values: Any) -> str:
    """A file of ``templates/`` with ``values`` in it: as plain text, unless the template marks them as markup."""
    return _TEMPLATES.get_template(template).render(values)


def _printable(value):
    return printable(value, lines=True) if isinstance(value, str) else value


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_printable,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
