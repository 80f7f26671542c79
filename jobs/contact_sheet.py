"""Pictures beside each other, with captions, on one sheet to look at.

In: rows of tiles (small images with a line of text each). Out: one Pillow image. Used by
`gamectl data check` (pairs of duplicates) and `gamectl preview` (what augmentations do); both save
it as a PNG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = (250, 250, 248), (40, 40, 40), (110, 110, 110)
MARGIN_PX, GAP_PX, LINE_PX = 16, 8, 18
TITLE_PX, TEXT_PX = 14, 11


@dataclass(frozen=True)
class Tile:
    """One picture and what stands under it, a line or more."""

    image: np.ndarray  # (H, W, 3) uint8
    caption: str = ""


def contact_sheet(
    rows: Sequence[Sequence[Tile]],
    side_px: int = 128,
    header: str = "",
    row_titles: Sequence[str] = (),
) -> Image.Image:
    """Lay tiles out in rows, from left to right, each scaled to fit a square.

    Small images are enlarged by repeating pixels, so that what a network sees is what is shown;
    large ones are averaged down. Text that is too long for its place ends in an ellipsis.

    Args:
        rows: the tiles; rows may differ in length.
        side_px: side of the square that a tile's image is fitted into.
        header: a line above everything; none if empty.
        row_titles: a line above each row, or nothing.

    Raises:
        ValueError: no tile at all, or another number of titles than of rows.
    """
    num_columns = max((len(row) for row in rows), default=0)
    if num_columns == 0:
        raise ValueError("a contact sheet needs at least one tile")
    if row_titles and len(row_titles) != len(rows):
        raise ValueError(f"{len(row_titles)} row titles for {len(rows)} rows")

    title_px = LINE_PX + 4 if row_titles else 0
    caption_px = LINE_PX * max(len(tile.caption.splitlines()) for row in rows for tile in row)
    row_px = title_px + side_px + caption_px + GAP_PX
    top_px = MARGIN_PX + (LINE_PX + GAP_PX if header else 0)
    width_px = 2 * MARGIN_PX + num_columns * (side_px + GAP_PX) - GAP_PX
    inner_px = width_px - 2 * MARGIN_PX
    sheet = Image.new("RGB", (width_px, top_px + len(rows) * row_px + MARGIN_PX - GAP_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, plain = _font(TITLE_PX), _font(TEXT_PX)
    if header:
        draw.text((MARGIN_PX, MARGIN_PX), _cut(header, large, inner_px), INK, large)

    for i, row in enumerate(rows):
        y = top_px + i * row_px
        if row_titles:
            draw.text((MARGIN_PX, y), _cut(row_titles[i], plain, inner_px), INK, plain)
        y += title_px
        for j, tile in enumerate(row):
            x = MARGIN_PX + j * (side_px + GAP_PX)
            image = _fitted(tile.image, side_px)
            sheet.paste(image, (x + (side_px - image.width) // 2, y + side_px - image.height))
            for k, line in enumerate(tile.caption.splitlines()):
                place = (x, y + side_px + 2 + k * LINE_PX)
                draw.text(place, _cut(line, plain, side_px), FAINT, plain)
    return sheet


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: Pillow's own font knows no umlauts."""
    path = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size_px)


def _fitted(image: np.ndarray, side_px: int) -> Image.Image:
    """Scale to a longer side of `side_px`, proportions kept."""
    height, width = image.shape[:2]
    factor = side_px / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
    return Image.fromarray(np.ascontiguousarray(image)).resize(size, how)


def _cut(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> str:
    """The text on one line, shortened to the width with an ellipsis."""
    # A file's name may hold bytes that are no text; fonts take none of these.
    text = " ".join(text.encode(errors="replace").decode().split())
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(text + "…") > width_px:
        text = text[:-1]
    return text.rstrip() + "…"
