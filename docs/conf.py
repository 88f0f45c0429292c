"""Sphinx's settings: ``sphinx-build -W -b html docs docs/_build``."""

import runpy
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

project = "recbole-ec4srec"
release = runpy.run_path(str(Path(__file__).parent.parent / "recbole_ec4srec" / "version.py"))["__version__"]
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
html_math_renderer = "mathml"


def _inline(translator, node):
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(translator, node):
    markup = tex2mathml(node.astext()).replace("<math ", '<math display="block" ', 1)
    translator.body.append(f'<div style="padding: 0.5em 0">{markup}</div>')
    raise nodes.SkipNode


def setup(app):
    # Browsers draw MathML themselves; Sphinx's own way is a script from another host.
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
