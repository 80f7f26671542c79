"""The page about deployment keeps its promises: commands exist, and folders are what it lists."""

import re
import shlex

import click
import kubernetes_validate
import pytest
import yaml

from orchestrator.admission.files import read_paths
from orchestrator.cli import main
from orchestrator.kustomize import DEPLOY
from tests.deploy.manifests import OVERLAYS, manifests, one, pods
from tests.deploy.test_schemas import KUBERNETES
from tests.deploy.test_security import restricted

PAGE = (DEPLOY / "README.md").read_text()
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
COMMANDS = [line.partition("#")[0].strip() for line in SHELL.splitlines() if line.strip()]


def test_there_are_commands_of_all_kinds() -> None:
    assert {line.split()[0] for line in COMMANDS} == {"docker", "gamectl", "kubectl"}


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("gamectl")])
def test_every_gamectl_command_is_understood(line: str) -> None:
    words = shlex.split(line.partition("|")[0])[1:]
    context, command = click.Context(main), main
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        context, command = click.Context(found, info_name=name, parent=context), found
    command.make_context(context.info_name, words, parent=context.parent)


def test_files_that_it_names_exist() -> None:
    for line in COMMANDS:
        for path in re.findall(r"(?:deploy|loadouts)/[\w./-]+", line):
            assert (DEPLOY.parent / path).exists(), path


def test_the_pod_that_fills_volumes_is_one_that_the_namespace_takes() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    document = yaml.safe_load(text)
    kubernetes_validate.validate(document, KUBERNETES, strict=True)
    (pod,) = pods([document])
    standing = manifests("gitops")
    assert document["metadata"]["namespace"] == one(standing, "Namespace")["metadata"]["name"]
    assert pod.spec["securityContext"]["runAsNonRoot"] is True
    assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod.containers
    assert restricted(container)
    there = {e["metadata"]["name"] for e in standing if e["kind"] == "PersistentVolumeClaim"}
    assert pod.claims <= there
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    copied = re.findall(r" cp \S+ copy-in:(\S+)", SHELL)
    assert set(copied) == {mounts["photos"], mounts["test-set"]}


def test_it_lists_every_overlay() -> None:
    listed = set(re.findall(r"^\| `overlays/(\w+)`", PAGE, re.MULTILINE))
    assert listed == set(OVERLAYS)


def test_the_cohort_in_git_is_admitted_and_is_the_one_that_is_scored() -> None:
    folder = DEPLOY / "overlays" / "gitops" / "loadouts"
    reading = read_paths([folder])
    assert reading.ok, [problem for file in reading.files for problem in file.problems]
    (scoring,) = pods(manifests("score"))
    for container in scoring.containers:
        assert container["args"] == ["--cohort", reading.cohort.name]
    files = {d["metadata"]["name"]: d["data"] for d in manifests("gitops") if "data" in d}
    (played,) = (data for name, data in files.items() if name.startswith("loadouts-"))
    assert set(played) == {path.name for path in folder.iterdir()}
