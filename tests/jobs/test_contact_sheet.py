"""Sheets of pictures: where tiles stand, what scaling does, and text of every kind."""

import numpy as np
import pytest

from jobs.contact_sheet import MARGIN_PX, PAPER, Tile, contact_sheet

RED, BLUE = (200, 30, 30), (30, 30, 200)


def _tile(colour, height=4, width=4, caption=""):
    return Tile(np.full((height, width, 3), colour, np.uint8), caption)


def _covers(sheet, colour):
    """The box (left, top, right, bottom) of all pixels of one colour."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_tiles_stand_beside_and_below_each_other():
    sheet = contact_sheet([[_tile(RED), _tile((0, 99, 0))], [_tile(BLUE)]], side_px=40)
    left, top, right, bottom = _covers(sheet, RED)
    assert (left, top, right - left, bottom - top) == (MARGIN_PX, MARGIN_PX, 40, 40)
    assert _covers(sheet, BLUE)[0] == left
    assert _covers(sheet, BLUE)[1] >= bottom
    assert _covers(sheet, (0, 99, 0))[0] >= right
    assert sheet.getpixel((right + 20, _covers(sheet, BLUE)[1])) == PAPER


def test_small_images_are_enlarged_pixel_by_pixel_and_large_ones_averaged():
    board = np.array([[0, 200], [200, 0]], np.uint8)[..., None].repeat(3, axis=2)
    sheet = np.asarray(contact_sheet([[Tile(board)]], side_px=64))
    tile = sheet[MARGIN_PX : MARGIN_PX + 64, MARGIN_PX : MARGIN_PX + 64]
    assert (tile == board.repeat(32, axis=0).repeat(32, axis=1)).all()
    fine = np.tile(board, (64, 64, 1))
    sheet = np.asarray(contact_sheet([[Tile(fine)]], side_px=64))
    assert (sheet[MARGIN_PX : MARGIN_PX + 64, MARGIN_PX : MARGIN_PX + 64] == 100).all()


def test_proportions_are_kept():
    left, top, right, bottom = _covers(contact_sheet([[_tile(RED, 10, 40)]], side_px=80), RED)
    assert (right - left, bottom - top) == (80, 20)


def test_long_text_is_cut_before_the_next_tile():
    row = [_tile(RED, caption="x" * 500), _tile(BLUE)]
    titles = ["a title, too long for the sheet " * 20]
    sheet = contact_sheet([row], 50, header="header " * 99, row_titles=titles)
    assert (np.asarray(sheet)[:, -MARGIN_PX:] == PAPER).all()
    below = np.asarray(sheet)[_covers(sheet, BLUE)[3] :, _covers(sheet, BLUE)[0] :]
    assert (below == PAPER).all()


@pytest.mark.parametrize("caption", ["äöü ±15° → ñ", "猴", "bad \udcff byte\x07", "one\ntwo"])
def test_any_text_can_stand_under_a_tile(caption):
    bare, captioned = (contact_sheet([[_tile(RED, caption=c)]], 90) for c in ("", caption))
    assert captioned.height > bare.height


def test_every_line_of_a_caption_is_drawn():
    heights = [contact_sheet([[_tile(RED, caption=c)]]).height for c in ("a", "a\nb", "a\nb\nc")]
    assert heights[1] - heights[0] == heights[2] - heights[1] > 0


def test_umlauts_have_a_glyph():
    drawn = {c: contact_sheet([[_tile(RED, caption=c)]]).tobytes() for c in "äöüß"}
    assert len(set(drawn.values())) == 4


@pytest.mark.parametrize("rows", [[], [[]]])
def test_no_tiles_are_refused(rows):
    with pytest.raises(ValueError, match="at least one tile"):
        contact_sheet(rows)


def test_a_title_for_each_row():
    with pytest.raises(ValueError, match="1 row titles for 2 rows"):
        contact_sheet([[_tile(RED)], [_tile(RED)]], row_titles=["only one"])
