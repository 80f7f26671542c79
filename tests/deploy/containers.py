"""Containers run as processes of this machine: words, environment and mounts as rendered.

In: manifests, values for their Secrets, and where a Service's address leads here. Out: processes. A
volume is a folder, kept by the name of its claim or for its pod alone; a ConfigMap's is made of
links, as in a cluster; a path or an address in the manifest's words is exchanged for what it is
here.
"""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deploy.manifests import Manifest, Pod

KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "COVERAGE_PROCESS_START")
IMAGES_ENV = {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""What the Dockerfile sets for every container."""


@dataclass
class Machine:
    """What stands in for the cluster."""

    root: Path
    config_maps: Mapping[str, Mapping[str, str]]
    secrets: Mapping[tuple[str, str], str]
    addresses: dict[str, str] = field(default_factory=dict)
    """From words of the manifests (`postgres:5432`, `--port=5000`) to what they are here."""

    def start(self, pod: Pod, container: Manifest, **more: Any) -> subprocess.Popen[str]:
        """Starts a container's command."""
        return self.start_words(pod, container, self.words(pod, container), **more)

    def start_words(
        self, pod: Pod, container: Manifest, words: Sequence[str], **more: Any
    ) -> subprocess.Popen[str]:
        """Starts other words, of this machine, in a container's environment."""
        env = {**self.environment(pod, container), **more.pop("env", {})}
        return subprocess.Popen(words, env=env, cwd=self.root, text=True, **more)

    def words(self, pod: Pod, container: Manifest, words: Iterable[str] | None = None) -> list[str]:
        """Words of a container, by default its command and arguments, as they are here."""
        if words is None:
            words = [*container.get("command", ()), *container.get("args", ())]
        return [*map(self._exchange(pod, container), words)]

    def run(self, pod: Pod, container: Manifest, **more: Any) -> str:
        """Runs a container to its end, which must be a success; returns what it printed."""
        log = subprocess.STDOUT
        process = self.start(pod, container, stdout=subprocess.PIPE, stderr=log, **more)
        said, _ = process.communicate()
        assert process.returncode == 0, said
        return said

    def environment(self, pod: Pod, container: Manifest) -> dict[str, str]:
        """A container's environment, with that of its image and what finds this project."""
        here = self._exchange(pod, container)
        env = {name: os.environ[name] for name in KEPT if name in os.environ} | IMAGES_ENV
        for source in container.get("envFrom", ()):
            env |= self.config_maps[source["configMapRef"]["name"]]
        for each in container.get("env", ()):
            reference = each.get("valueFrom", {}).get("secretKeyRef")
            env[each["name"]] = (
                each["value"]
                if reference is None
                else self.secrets[reference["name"], reference["key"]]
            )
        changed = {name: here(value) for name, value in env.items() if name not in KEPT}
        env |= changed
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
        return env

    def folder(self, pod: Pod, volume_name: str) -> Path:
        """The folder of one of a pod's volumes, with its files where it is a ConfigMap's."""
        (volume,) = (v for v in pod.spec["volumes"] if v["name"] == volume_name)
        if "persistentVolumeClaim" in volume:
            path = self.root / "claims" / str(volume["persistentVolumeClaim"]["claimName"])
        else:
            path = self.root / "pods" / re.sub(r"\W+", "-", pod.where) / volume_name
        if not path.exists():
            path.mkdir(parents=True)
            if "configMap" in volume:
                self._write_links(path, self.config_maps[volume["configMap"]["name"]])
        return path

    def _write_links(self, path: Path, files: Mapping[str, str]) -> None:
        """As kubelet does it: a link a file, by way of a folder that is exchanged as a whole."""
        (path / "..2026_01_01").mkdir()
        (path / "..data").symlink_to("..2026_01_01")
        for name, content in files.items():
            exchanged = content
            for there, here in self.addresses.items():
                exchanged = exchanged.replace(there, here)
            (path / "..2026_01_01" / name).write_text(exchanged)
            (path / name).symlink_to(f"..data/{name}")

    def _exchange(self, pod: Pod, container: Manifest) -> Callable[[str], str]:
        """What turns the manifest's words into those of this machine."""
        paths = {
            mount["mountPath"]: str(self.folder(pod, mount["name"]))
            for mount in container.get("volumeMounts", ())
            if mount["name"] in {volume["name"] for volume in pod.spec["volumes"]}
        }
        for inner, outer in itertools.permutations(paths, 2):
            if inner.startswith(f"{outer}/"):  # a volume in a volume
                link = Path(paths[outer], inner.removeprefix(f"{outer}/"))
                if not link.is_symlink():
                    link.symlink_to(paths[inner])
        return exchanged(self.addresses, paths)


def exchanged(addresses: Mapping[str, str], paths: Mapping[str, str]) -> Callable[[str], str]:
    """What exchanges addresses and paths in a text for what they are here."""
    known = {**addresses, **paths}
    longest_first = sorted(known, key=len, reverse=True)
    # Neither `data` in `metadata`, nor `/data` in `/var/data` or `/database`.
    words = [rf"(?<![\w.{'/' * (key in paths)}]){re.escape(key)}(?![\w-])" for key in longest_first]
    pattern = re.compile("|".join(words) or "(?!)")
    return lambda text: pattern.sub(lambda found: known[found[0]], text)


def config_maps(documents: Iterable[Manifest]) -> dict[str, dict[str, str]]:
    """What the ConfigMaps hold, by name."""
    return {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
