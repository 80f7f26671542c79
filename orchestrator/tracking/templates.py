"""Models in MLflow's form, exported once for each architecture.

In: the parts of a job's network. Out: a folder as `mlflow.pytorch.save_model` writes it, with a
`pt2` program in it. Networks of one architecture have the same program and differ in their weights,
which a `pt2` file keeps as plain bytes beside it: so torch exports a blank one of each, and of
every network only these bytes are written. That takes 0.01 to 0.02 s where an export takes 0.2 to
0.6 s, and a process's first one 6 s (one base network to three boosted ones of 64 px; AMD EPYC
without AVX-512, other work beside it, 2026-11-28). Next on the path: `model`, which logs the
folder.

Templates are kept beside the other caches. What is wrong with one is found by its names and sizes,
and then it is made anew; nothing is ever loaded from one. Torch is imported by the process that
exports.
"""

import hashlib
import json
import platform
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import jobs
from jobs.plan import Combine, ModelPlan
from orchestrator.errors import TrackingError
from orchestrator.results.networks import Parts
from orchestrator.tracking.exporter import Exporter

PROGRAM = "data/model.pt2"
WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
FORMAT = 2
"""One more with every change to what a template's folder holds."""
SOURCES = ("combining", "ensemble", "monkeynet")
"""The modules of `jobs` that a network is made of."""


class Unfit(Exception):
    """A program whose weights cannot be exchanged for those of the network."""


DAMAGED = (Unfit, zipfile.BadZipFile, LookupError, ValueError, TypeError, AttributeError)
"""What reading a template raises that is not what was written, but for the system's own errors."""


@dataclass(frozen=True)
class Architecture:
    """What networks with one program have in common."""

    members: tuple[ModelPlan, ...]
    how: Combine
    image_size_px: int
    num_classes: int

    @classmethod
    def of(cls, parts: Parts) -> "Architecture":
        """That of a job's network."""
        data, members = parts.plans[0].data, tuple(_asked(plan.model) for plan in parts.plans)
        return cls(members, parts.how, data.image_size_px, len(data.classes))

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "Architecture":
        """From what `to_dict` gave."""
        members = tuple(ModelPlan.model_validate(member) for member in document["members"])
        return cls(**{**document, "members": members})

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON."""
        members = [member.model_dump(mode="json") for member in self.members]
        return {
            "members": members,
            "how": self.how,
            "image_size_px": self.image_size_px,
            "num_classes": self.num_classes,
        }

    @property
    def key(self) -> str:
        """Names it, and everything else that decides what its template holds."""
        folder = Path(jobs.__path__[0])
        sources = [(folder / f"{name}.py").read_text() for name in SOURCES]
        versions = [version(name) for name in ("torch", "numpy", "mlflow")]
        parts = [
            *([member.model_dump() for member in self.members], self.how),
            *(self.image_size_px, self.num_classes),
            *(FORMAT, platform.python_version(), platform.machine(), versions, sources),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _asked(model: ModelPlan) -> ModelPlan:
    """A network once it is trained, when its dropout no longer counts.

    But that there was one does: it stands before the attention, whose name has its number in it.
    """
    was_there = model.dropout > 0 and model.attention
    return model.model_copy(update={"dropout": 0.5 if was_there else 0.0})


class Templates:
    """A folder of templates; several processes may use it at a time.

    As a context it keeps the process that exports, once one was needed, until the end of the block.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exporter = Exporter()
        self._num_entered = 0

    def __enter__(self) -> Self:
        self._num_entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._num_entered -= 1
        if self._num_entered == 0:
            self._exporter.close()

    def write(self, parts: Parts, into: Path) -> None:
        """Writes a network's model to a new folder.

        Raises `TrackingError` where no export fits it, and where the folder cannot be written.
        """
        architecture = Architecture.of(parts)
        template, state = self._folder / architecture.key, parts.state
        try:
            _copy(template, state, into)
        except (OSError, *DAMAGED) as error:
            if isinstance(error, OSError) and _is_whole(template):
                # `copytree` collects what went wrong with each of its files.
                why = error.args[0][0][2] if isinstance(error, shutil.Error) else error
                raise TrackingError(f"a model cannot be written: {why}") from error
            # There is none yet, or it is not what it was. `rmtree` also of what was half copied.
            shutil.rmtree(template, ignore_errors=True)
            shutil.rmtree(into, ignore_errors=True)
            self._make(architecture, template)
            try:
                _copy(template, state, into)
            except DAMAGED as error:
                raise TrackingError(f"a model: no export fits it: {error}") from error

    def _make(self, architecture: Architecture, template: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self, tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as folder:
            made = Path(folder) / "model"
            self._exporter.export(architecture.to_dict(), made)
            try:
                made.rename(template)
            except OSError:
                if not _is_whole(template):  # or else another process was faster
                    raise


def _is_whole(template: Path) -> bool:
    """Whether a template's files can be read."""
    try:
        for file in template.rglob("*"):
            if file.is_file():
                file.read_bytes()
        with zipfile.ZipFile(template / PROGRAM) as program:
            return program.testzip() is None
    except (OSError, *DAMAGED):
        return False


def _copy(template: Path, state: dict[str, NDArray[np.float32]], into: Path) -> None:
    """Copies a template, with the network's weights in place of its own."""
    shutil.copytree(template, into, ignore=lambda _folder, names: {"model.pt2"} & set(names))
    with (
        zipfile.ZipFile(template / PROGRAM) as source,
        zipfile.ZipFile(into / PROGRAM, "w", zipfile.ZIP_STORED) as target,
    ):
        root = source.namelist()[0].partition("/")[0]
        config: dict[str, Any] = json.loads(source.read(f"{root}/{WEIGHTS_CONFIG}"))["config"]
        weights = {
            f"{root}/data/weights/{entry['path_name']}": (name, entry)
            for name, entry in config.items()
        }
        if len(weights) != len(config) or set(config) != set(state):
            raise Unfit("it has weights of other names")
        for file in source.infolist():
            if file.filename in weights:
                name, entry = weights[file.filename]
                content = _bytes(state[name], entry)
                if len(content) != file.file_size:
                    raise Unfit(f"{name} has another size")
            else:
                content = source.read(file)
            target.writestr(file, content)


def _bytes(value: NDArray[np.float32], entry: dict[str, Any]) -> bytes:
    """A weight as the file has it; raises `Unfit` where the file has it in another way."""
    meta = entry["tensor_meta"]
    sizes = [size["as_int"] for size in meta["sizes"]]
    strides = [stride["as_int"] * value.itemsize for stride in meta["strides"]]
    in_order = np.ascontiguousarray(value)
    if (
        entry["use_pickle"]
        or meta["storage_offset"]["as_int"]
        or sizes != list(in_order.shape)
        or strides != list(in_order.strides)
    ):
        raise Unfit("its weights are not plain bytes in order")
    return in_order.tobytes()
