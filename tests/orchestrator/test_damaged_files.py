"""Good files, damaged in every way that comes to mind: always problems, never an exception."""

import random
from pathlib import Path

import pytest

from orchestrator.admission.files import read_paths

DEMO = Path(__file__).parents[2] / "loadouts" / "demo"
JARGON = ("Input should", "value_error", "assertion", "pydantic", "Tuple", "tag", "Extra inputs")


def test_no_damage_to_a_file_ever_raises(tmp_path: Path) -> None:
    """Bytes and lines of good files, deleted, doubled and changed at random."""
    rng = random.Random(2)  # noqa: S311  # not for secrets
    sources = [path.read_bytes() for path in sorted(DEMO.glob("*.yaml"))]
    for number in range(300):
        content = bytearray(rng.choice(sources))
        for _ in range(rng.randint(1, 4)):
            at, end = sorted(rng.randrange(len(content)) for _ in range(2))
            piece = bytes(rng.choice([content[at:end], b"[", b"\t", b"{}", b"- ", b"\xff", b": "]))
            content[at : at + rng.choice([0, 1, len(piece)])] = piece
            content = content or bytearray(b"x")
        (tmp_path / f"x{number}.yaml").write_bytes(bytes(content))
    files = read_paths([tmp_path]).files
    assert len(files) == 300
    for file in files:
        num_lines = len(Path(file.path).read_bytes().splitlines())
        assert all(1 <= problem.line <= max(1, num_lines) for problem in file.problems)
        assert file.ok or file.problems[0].message


@pytest.mark.parametrize("odd", ["", "[]", "{}", "-1", ".nan", "1e999", "true", "[[{}]]", "'\\0'"])
def test_no_value_in_any_place_raises_or_speaks_pydantic(tmp_path: Path, odd: str) -> None:
    texts = [(DEMO / f"{name}.yaml").read_text() for name in ("three-wise-monkeys", "cohort")]
    for text in texts:
        for number, line in enumerate(text.splitlines()):
            key, colon, _ = line.partition(": ")
            if not colon or line.startswith("#"):
                continue
            lines = text.splitlines()
            lines[number] = f"{key}: {odd}"
            (tmp_path / "x.yaml").write_text("\n".join(lines))
            (file,) = read_paths([tmp_path / "x.yaml"]).files
            messages = [problem.message for problem in file.problems]
            assert not any(word in message for word in JARGON for message in messages), messages
