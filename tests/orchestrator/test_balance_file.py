"""A file of results: each measurement replaces its own section of it."""

from pathlib import Path

import pytest

from orchestrator.errors import Refused
from orchestrator.measuring.balance import Balance
from orchestrator.measuring.balance_table import read_for_update, section, updated


def test_a_section_replaces_itself_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "BALANCE.md"
    start = read_for_update(path, "drawn")
    assert start.startswith("# ")
    first = updated(start, "drawn", "old drawn")
    both = updated(first, "photos", "photos' table") + "\nA last word.\n"
    assert both.startswith(first)
    windows = both.replace("\n", "\r\n")
    path.write_bytes(windows.encode())
    theirs = updated(read_for_update(path, "drawn"), "drawn", "new\ndrawn")
    assert theirs == windows.replace("old drawn", "new\r\ndrawn")
    again = updated(both, "drawn", "new drawn")
    assert again == both.replace("old drawn", "new drawn")
    assert updated(again, "drawn", "new drawn") == again


@pytest.mark.parametrize(
    "text",
    [
        "<!-- drawn -->",
        "<!-- /drawn -->",
        "<!-- /drawn --> <!-- drawn -->",
        "<!-- drawn --> <!-- drawn --> <!-- /drawn -->",
    ],
)
def test_a_file_with_half_a_section_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "BALANCE.md"
    path.write_text(text)
    with pytest.raises(Refused, match="should hold one <!-- drawn --> and"):
        read_for_update(path, "drawn")
    assert read_for_update(path, "photos") == text


def test_a_section_of_other_images_of_the_same_name_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "BALANCE.md"
    mine, theirs = "ab" * 32, "cd" * 32
    text = section(Balance("small", 2, None, 10, 0, ()), "photos", "gamectl balance monday", mine)
    path.write_text(updated(read_for_update(path, "photos", mine), "photos", text))
    assert read_for_update(path, "photos", mine) == path.read_text()
    assert read_for_update(path, "drawn", theirs) == path.read_text()
    with pytest.raises(Refused, match=r"section photos of .* was measured on other images"):
        read_for_update(path, "photos", theirs)
