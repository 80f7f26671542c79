"""Files of loadouts and cohorts, written for a test, and what reading them finds."""

from pathlib import Path

from orchestrator.admission.files import LoadoutFile, Reading, read_paths

LOADOUTS = Path(__file__).parents[2] / "loadouts"
DEMO = LOADOUTS / "demo"


def loadout(team: str = "a", spec: str = "{}") -> str:
    return f"apiVersion: game/v1\nkind: Loadout\nmetadata:\n  team: {team}\nspec: {spec}\n"


def cohort(spec: str = "{}") -> str:
    return f"apiVersion: game/v1\nkind: Cohort\nspec: {spec}\n"


def write(folder: Path, **texts: str | bytes) -> Path:
    for name, text in texts.items():
        content = text if isinstance(text, bytes) else text.encode()
        (folder / f"{name}.yaml").write_bytes(content)
    return folder


def codes(reading: Reading) -> dict[str, list[str]]:
    return {
        Path(file.path).name: [problem.code for problem in file.problems] for file in reading.files
    }


def only(tmp_path: Path, text: str | bytes) -> LoadoutFile:
    (file,) = read_paths([write(tmp_path, x=text) / "x.yaml"]).files
    return file


def places(file: LoadoutFile) -> list[tuple[int, int, str]]:
    return [(problem.line, problem.column, problem.code) for problem in file.problems]
