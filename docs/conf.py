"""Sphinx's settings: ``sphinx-build -W -b html docs docs/_build``."""

import runpy
from pathlib import Path

project = "recbole-ec4srec"
release = runpy.run_path(str(Path(__file__).parent.parent / "recbole_ec4srec" / "version.py"))["__version__"]
extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {release}"
