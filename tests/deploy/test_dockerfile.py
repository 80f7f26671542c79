"""The Dockerfile, read: nothing here can build it."""

import re
import shlex
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "deploy" / "Dockerfile").read_text()
KNOWN = {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "CMD"}
JOINED = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE))
STEPS = [tuple(line.split(maxsplit=1)) for line in JOINED.splitlines() if line.strip()]


def steps(instruction: str) -> list[str]:
    return [rest for word, rest in STEPS if word == instruction]


def project() -> dict[str, object]:
    project: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def test_every_line_is_an_instruction() -> None:
    assert {word for word, _ in STEPS} == KNOWN
    for command in steps("RUN"):
        shlex.split(command)
    assert yaml.safe_load(steps("CMD")[0]) == ["gamectl", "--help"]


def test_the_build_argument_chooses_a_stage() -> None:
    arguments = dict(each.partition("=")[::2] for each in steps("ARG"))
    assert arguments["DEVICE"] == "cpu"
    names = [each.split(" AS ")[1] for each in steps("FROM")]
    bases = [each.split(" AS ")[0] for each in steps("FROM")]
    assert names == ["system", "torch-cpu", "torch-cuda", "game"]
    assert bases == ["${BASE_IMAGE}", "system", "system", "torch-${DEVICE}"]
    assert {f"torch-{device}" for device in ("cpu", "cuda")} <= set(names)
    name, _, version = arguments["BASE_IMAGE"].partition(":")
    assert (name, version[0].isdigit()) == ("python", True)
    needed = str(project()["requires-python"]).removeprefix(">=")
    assert tuple(map(int, version.split("-")[0].split("."))) >= tuple(map(int, needed.split(".")))


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    sources = {source for each in steps("COPY") for source in each.split()[:-1]}
    assert "*" in ignored
    assert kept == sources
    assert all((ROOT / source).exists() for source in sources)


def test_every_install_is_pinned_and_its_extras_exist() -> None:
    installs = [line for line in steps("RUN") if "pip install" in line]
    for line in installs:
        assert "--constraint constraints.txt" in line or "--no-deps" in line, line
    extras = {name for line in installs for found in re.findall(r"\.\[([\w,]+)\]", line)
              for name in found.split(",")}  # fmt: skip
    assert extras == {"postgres", "s3", "server"}
    optional = project()["optional-dependencies"]
    assert isinstance(optional, dict)
    assert extras <= set(optional)


def test_the_sandbox_is_installed() -> None:
    (apt,) = (line for line in steps("RUN") if "apt-get install" in line)
    assert "bubblewrap" in shlex.split(apt)


def test_it_runs_as_the_user_of_the_manifests() -> None:
    from tests.deploy.manifests import manifests, pods

    *_, user = steps("USER")
    uid, _, gid = user.partition(":")
    contexts = [
        p.spec["securityContext"] for p in pods(manifests("gitops")) if p.part != "database"
    ]
    assert {(each["runAsUser"], each["runAsGroup"]) for each in contexts} == {(int(uid), int(gid))}


def test_what_changes_least_comes_first() -> None:
    """So that a change of the code installs nothing again."""
    order = [rest for word, rest in STEPS if word in ("COPY", "RUN")]
    copied = next(i for i, rest in enumerate(order) if rest.startswith("orchestrator"))
    installed = [
        i for i, rest in enumerate(order) if "pip install" in rest and "--no-deps" not in rest
    ]
    assert max(installed) < copied


def test_the_manifests_name_its_version_and_rays() -> None:
    from tests.deploy.manifests import manifests, one

    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    cluster = one(manifests("local"), "RayCluster")["spec"]
    assert cluster["rayVersion"] == pins["ray"]
    image = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"classification-game:{project()['version']}"
