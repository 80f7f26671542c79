"""Python, the packages of constraints.txt, torch with torchvision, and other programs.

In: what is installed. Out: `Finding`s. Versions come from the packages' metadata: nothing is
imported but torch and torchvision, of which only that tells whether they fit each other.
"""

import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from orchestrator.doctor.finding import REINSTALL, Finding, Level

ROOT = Path(__file__).parents[2]
PROJECT = "classification-game"
OLDEST_PYTHON = (3, 11)
SHOWN = 3
"""Packages named in a line; the others are counted."""

Installed = Callable[[str], str | None]
"""From a package's name to its version, or None."""


def python() -> Iterator[Finding]:
    """Whether Python is new enough."""
    found = f"{platform.python_version()}, {platform.machine()}, {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        advice = "Python 3.11 or newer is needed: make PYTHON=python3.11 install"
        yield Finding(Level.PROBLEM, "python", found, advice)
    else:
        yield Finding(Level.OK, "python", found)


def packages() -> Iterator[Finding]:
    """Whether everything that is needed is installed, in the versions that were tested."""
    try:
        needed = required(metadata.requires(PROJECT) or [])
    except metadata.PackageNotFoundError:
        advice = "`make install` in the checkout installs it and all that it needs"
        yield Finding(Level.PROBLEM, "packages", f"{PROJECT} is not installed", advice)
        return
    file = ROOT / "constraints.txt"
    tested = pinned(file.read_text()) if file.exists() else {}
    yield package_finding(needed, tested, installed_version)


def installed_version(name: str) -> str | None:
    """The version of a package, or None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def required(lines: list[str]) -> dict[str, str]:
    """The oldest version that will do, by package; what only an extra asks for is left out."""
    found = (re.match(r"([\w.-]+)[^>]*(?:>=([\w.]+))?", line) for line in lines if ";" not in line)
    return {match[1]: match[2] or "0" for match in found if match is not None}


def pinned(constraints: str) -> dict[str, str]:
    """The exact versions in a file of constraints."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", constraints, re.MULTILINE))


def package_finding(
    needed: Mapping[str, str], tested: Mapping[str, str], installed: Installed
) -> Finding:
    """What is missing or too old, or else what differs from the versions that were tested."""
    versions = {name: installed(name) for name in {**needed, **tested}}
    missing = [name for name in needed if versions[name] is None]
    old = [
        f"{name} {versions[name]} (needs {oldest})"
        for name, oldest in needed.items()
        if _numbers(versions[name] or oldest) < _numbers(oldest)
    ]
    if missing or old:
        parts = [f"missing: {_listed(missing)}"] if missing else []
        parts += [f"too old: {_listed(old)}"] if old else []
        return Finding(Level.PROBLEM, "packages", "; ".join(parts), REINSTALL)
    here = {name: version for name, version in versions.items() if version is not None}
    other = [
        f"{name} {version} (tested: {tested[name]})"
        for name, version in here.items()
        if tested.get(name, version) != version
    ]
    if other:
        return Finding(
            Level.WARNING,
            "packages",
            f"{len(other)} of {len(here)} differ from constraints.txt: {_listed(sorted(other))}",
            f"if something fails, {REINSTALL}",
        )
    exact = ", all as in constraints.txt" if tested else ""
    return Finding(Level.OK, "packages", f"{len(here)} are installed{exact}")


def torch_pair() -> Iterator[Finding]:
    """Whether torch and torchvision load together: builds that do not fit fail only then."""
    try:
        import torch
        import torchvision
    except ImportError:
        raise
    except (OSError, RuntimeError) as error:
        versions = " and ".join(f"{n} {installed_version(n)}" for n in ("torch", "torchvision"))
        said = str(error).splitlines()[0]
        advice = "install both from one place: pip install --force-reinstall torch torchvision -c "
        yield Finding(
            Level.PROBLEM,
            "torch",
            f"{versions} do not fit each other: {said}",
            f"{advice}constraints.txt",
        )
    else:
        found = f"{torch.__version__} and torchvision {torchvision.__version__} load together"
        yield Finding(Level.OK, "torch", found)


def programs() -> Iterator[Finding]:
    """Programs that only some commands need."""
    if shutil.which("kubectl") is None:
        found = "not installed; only `gamectl deploy` and Kubernetes need it"
        yield Finding(Level.OK, "kubectl", found)
    else:
        yield Finding(Level.OK, "kubectl", f"{shutil.which('kubectl')}")


def sandbox() -> Iterator[Finding]:
    """Whether teams' own code can be kept apart, which is tried."""
    from jobs.plan import SandboxRules
    from orchestrator.submission import no_sandbox

    reason = no_sandbox(SandboxRules())
    if reason is None:
        yield Finding(Level.OK, "sandbox", "one can be made for teams' own code")
    else:
        found = "none can be made, so the item `custom` cannot be sold"
        yield Finding(Level.WARNING, "sandbox", found, reason)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, to compare: 2.15.0+cpu -> (2, 15, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
