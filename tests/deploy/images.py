"""Containers run as containers: the image, the limits and the security context as rendered.

In: a `Machine`'s manifests, and an image that was built. Out: what podman starts of it. Volumes are
folders of this machine, and the network is this machine's; words, environment, mounts, memory,
user and privileges are those of the manifests. PostgreSQL's image is not ours, and stays a process.
Used by `cluster` where `GAME_TEST_IMAGE` names the image (`make test-image`).

What podman needs here (another runtime, limits that it may set) is told by `CONTAINERS_CONF`.
Volumes are given to the pods' group, which takes root.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.deploy.containers import Machine, exchanged
from tests.deploy.manifests import Manifest, Pod

IMAGE_ENV = "GAME_TEST_IMAGE"
OF_THE_HOST = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "COVERAGE_PROCESS_START")
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # a mount, as in the manifests


class ImageMachine(Machine):
    """A machine whose containers are podman's."""

    def start_words(
        self, pod: Pod, container: Manifest, words: Sequence[str], **more: Any
    ) -> subprocess.Popen[str]:
        """Starts words in a container, which is gone once they have ended."""
        if pod.part == "database":
            return super().start_words(pod, container, words, **more)
        env = {**self.environment(pod, container), **more.pop("env", {})}
        told = [f"{name}={value}\n" for name, value in env.items() if name not in OF_THE_HOST]
        with tempfile.NamedTemporaryFile("w", dir=self.root, prefix="env-", delete=False) as file:
            file.writelines(told)
        command = [
            "podman", "run", "--rm", "--pull=never",
            "--network=host", f"--env-file={file.name}", *_limits(container),
            *_context(pod, container), *self._mounts(pod, container),
            # Each has a folder of its own for that, with the same name.
            os.environ[IMAGE_ENV], *(word for word in words if not word.startswith("--temp-dir=")),
        ]  # fmt: skip
        return subprocess.Popen(command, cwd=self.root, text=True, **more)

    def _mounts(self, pod: Pod, container: Manifest) -> list[str]:
        options = []
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        for mount in container.get("volumeMounts", ()):
            name, there = mount["name"], mount["mountPath"]
            if there == SHARED_MEMORY:
                size = str(volumes[name]["emptyDir"]["sizeLimit"])
                options.append(f"--shm-size={size.removesuffix('i').lower()}")
            elif name in volumes:
                folder = self.folder(pod, name)
                if "emptyDir" in volumes[name]:
                    folder.chmod(0o777)
                if (group := pod.spec["securityContext"].get("fsGroup")) is not None:
                    _give(folder, int(group))
                options.append(f"-v={folder}:{there}{':ro' if mount.get('readOnly') else ''}")
        return options

    def _exchange(self, pod: Pod, container: Manifest) -> Callable[[str], str]:
        if pod.part == "database":
            return super()._exchange(pod, container)
        return exchanged(self.addresses, {})


def _limits(container: Manifest) -> list[str]:
    limits = container["resources"]["limits"]
    asked = str(limits["cpu"])
    share = int(asked[:-1]) / 1000 if asked.endswith("m") else float(asked)
    memory = str(limits["memory"]).removesuffix("i").lower()
    # Podman refuses more CPUs than there are.
    return [f"--memory={memory}", f"--cpus={min(share, os.cpu_count() or 1)}"]


def _context(pod: Pod, container: Manifest) -> list[str]:
    """The security context; podman's own profile for system calls stands for `RuntimeDefault`."""
    whole, own = pod.spec["securityContext"], container["securityContext"]
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    options = [f"--user={whole['runAsUser']}:{whole['runAsGroup']}"]
    options += [f"--cap-drop={capability}" for capability in own["capabilities"]["drop"]]
    if not own["allowPrivilegeEscalation"]:
        options.append("--security-opt=no-new-privileges")
    if own["readOnlyRootFilesystem"]:
        options += ["--read-only", "--read-only-tmpfs=false"]
    return options


def _give(folder: Path, group: int) -> None:
    """Gives a volume to a group, as kubelet does for `fsGroup`."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            os.chown(path, -1, group)
            path.chmod(path.stat().st_mode | (0o2770 if path.is_dir() else 0o660))
