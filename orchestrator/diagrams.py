"""How our diagrams look: colours, a heading, and the PNG.

In: what a picture shows and how high it has to be. Out: a matplotlib figure of the width of a
projector, without any window, and its bytes. Used by `ablation.picture` and `search.picture`, which
are imported only where something is drawn: matplotlib takes a second.
"""

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind people, too, and on a pale projector.
BLUE, ORANGE, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
INK, SOFT_INK, GREY, FAINT = "#1A1A1A", "#444444", "#6B6B6B", "#DADADA"
WIDTH_INCHES, DPI = 12.8, 150
HEADING_INCHES = 1.05
TITLE_PT, SUBTITLE_PT, LABEL_PT, TICK_PT = 21, 14, 15, 14


def figure_with_heading(height_inches: float, title: str, subtitle: str) -> Figure:
    """A figure, 1920 px wide, with a heading above the part that axes are laid out in."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    below = 1 - HEADING_INCHES / height_inches
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0.005, 0.01, 0.985, below - 0.01))
    left, inch = 0.015, 1 / height_inches
    words: dict[str, Any] = {"x": left, "ha": "left", "va": "top", "parse_math": False}
    figure.text(y=1 - 0.2 * inch, s=title, fontsize=TITLE_PT, fontweight="bold", color=INK, **words)
    figure.text(y=1 - 0.64 * inch, s=subtitle, fontsize=SUBTITLE_PT, color=SOFT_INK, **words)
    return figure


def tidy(axes: Axes, *hidden: str) -> None:
    """Large figures on the axis, and no frame but where it carries them."""
    axes.tick_params(labelsize=TICK_PT, color=GREY, labelcolor=INK)
    axes.set_axisbelow(True)
    for side in ("top", "right", *hidden):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(GREY)


def png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
