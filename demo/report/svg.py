"""Matplotlib figures as inline SVG that belongs to the page.

Text stays text (the page's fonts, selectable, read aloud), and colours are CSS variables, so that one
drawing serves a light screen, a dark one and paper. Matplotlib knows neither: it draws with stand-in
colours that are replaced afterwards.
"""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from html import escape
from types import MappingProxyType

import matplotlib as mpl
from matplotlib.figure import Figure

# Names of the page's CSS variables; the stand-in of each is an almost black of its own.
_NAMES = ("ink", "muted", "rule", "paper", "federation", "pooled", "site-0", "site-1", "site-2", "site-3", "site-4")
INK = MappingProxyType({name: f"#0000{number:02x}" for number, name in enumerate(_NAMES, 1)})
SITES = tuple(INK[name] for name in _NAMES if name.startswith("site-"))

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fedpacs",
    "font.size": 9,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.h_pad": 0.02,
    "axes.edgecolor": INK["rule"],
    "axes.labelcolor": INK["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK["rule"],
    "grid.linewidth": 0.6,
    "text.color": INK["ink"],
    "xtick.color": INK["muted"],
    "ytick.color": INK["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


def style() -> AbstractContextManager[None]:
    """The context in which a figure must be made: defaults are read when its parts are created."""
    return mpl.rc_context(_STYLE)


def inline(figure: Figure, *, name: str, title: str, description: str) -> str:
    """``figure`` as an ``<svg>`` element.

    Parameters
    ----------
    name
        Unique in the page: becomes the prefix of every id inside the drawing.
    title, description
        What a reader who does not see the drawing is told.
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", transparent=True)
    body = buffer.getvalue()
    view = re.search(r'viewBox="([^"]+)"', body)
    inner = re.search(r"<defs>.*</svg>", body, re.DOTALL)
    if view is None or inner is None:
        raise RuntimeError("matplotlib's SVG has no viewBox or no defs: this version writes another form")
    drawing = inner[0].removesuffix("</svg>")
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r"url\(#", f"url(#{name}-", drawing)
    drawing = re.sub(r'xlink:href="#', f'href="#{name}-', drawing)
    drawing = re.sub(r"font-family: [^;\"]*;? ?", "", drawing)
    for variable, stand_in in INK.items():
        drawing = drawing.replace(stand_in, f"var(--{variable})")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view[1]}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" class="plot" id="{name}">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f"{drawing}</svg>"
    )
