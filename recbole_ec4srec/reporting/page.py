"""Pages and pictures from the templates of ``templates/``, which escape all that is put into them."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recbole_ec4srec.errors import printable


def render(template: str, **values) -> str:
    """The text of a ``template`` with ``values`` in it; they are plain text, except what is marked as markup."""
    return _TEMPLATES.get_template(template).render(values)


def _shown(value):
    return printable(value, lines=True) if isinstance(value, str) else value


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
