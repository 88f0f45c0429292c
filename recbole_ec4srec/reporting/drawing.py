"""What all pictures have in common: matplotlib's settings, fonts for other scripts, and the SVG file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure  # without pyplot, which looks for a display
from matplotlib.font_manager import fontManager

#: matplotlib's own font, and where they are installed those with the letters that it lacks.
_FONTS = (
    "DejaVu Sans",
    *("Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),  # macOS
    *("Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Segoe UI"),  # Windows
)


@contextmanager
def style(**settings: Any) -> Iterator[None]:
    """Draw with the package's fonts; ``settings`` are more of matplotlib's ``rcParams``. A $ in a text is a $."""
    fonts = [name for name in _FONTS if name in set(fontManager.get_font_names())]
    common = {"font.family": fonts, "text.parse_math": False, "svg.fonttype": "none"}
    common["svg.hashsalt"] = "ec4srec"  # the same picture is the same file
    parameters: Any = {**common, **settings}  # matplotlib types its keys from 3.11 on
    with rc_context(parameters), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # no font here has it; what shows an SVG may have one
        yield


def svg(figure: Figure, title: str | None = None, **options: Any) -> str:
    """The figure as an ``<svg>`` element whose texts are texts.

    Args:
        title: what the picture shows, for those who cannot see it.
        options: of matplotlib's ``savefig``.
    """
    file = io.StringIO()
    metadata = {**dict.fromkeys(("Date", "Creator", "Format", "Type")), **({"Title": title} if title else {})}
    figure.savefig(file, format="svg", metadata=metadata, **options)
    text = file.getvalue()
    return text[text.index("<svg") :]
