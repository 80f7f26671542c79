"""Models in MLflow's form, exported once for each architecture.

In: a job's combined network. Out: a folder as `mlflow.pytorch.save_model` writes it, with a `pt2`
program in it. Networks of one architecture have the same program and differ in their weights, which
a `pt2` file keeps as plain bytes beside it: so torch exports the first of them, and of every other
one only these bytes are written. That takes 0.01 to 0.02 s where an export takes 0.2 to 0.6 s, and
a process's first one 6 s (one base network to three boosted ones of 64 px; AMD EPYC without
AVX-512, other work beside it, 2026-11-28). Next on the path: `model`, which logs the folder.

Templates are kept beside the other caches. What is wrong with one is found by its names and sizes,
and then it is made anew; nothing is ever loaded from one.
"""

import hashlib
import inspect
import json
import platform
import shutil
import tempfile
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pytorch
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor

from jobs import ensemble, monkeynet, stacking
from jobs.ensemble import Ensemble
from jobs.plan import DataPlan

PROGRAM = "data/model.pt2"
WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
FORMAT = 1
"""One more with every change to what a template's folder holds."""
BATCH = 2
"""Of the example: torch.export takes a size of 1 for a constant."""


class Unfit(Exception):
    """A program whose weights cannot be exchanged for those of the network."""


class Templates:
    """A folder of templates; several processes may use it at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, model: Ensemble, data: DataPlan, into: Path) -> None:
        """Writes a network's model to a new folder."""
        template = self._folder / _key(model, data)
        try:
            _copy(template, model, into)
        except (OSError, Unfit, zipfile.BadZipFile, KeyError, ValueError):
            # There is none yet, or it is not what it was. `rmtree` also of what was half copied.
            shutil.rmtree(template, ignore_errors=True)
            shutil.rmtree(into, ignore_errors=True)
            _export(model, data, into)
            self._keep(into, template)

    def _keep(self, made: Path, template: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as folder:
            copy = Path(folder) / "model"
            shutil.copytree(made, copy)
            try:
                copy.rename(template)
            except OSError:  # another process was faster
                return


def _key(model: Ensemble, data: DataPlan) -> str:
    """Names the architecture, and everything else that decides what its template holds."""
    sources = [inspect.getsource(module) for module in (ensemble, monkeynet, stacking)]
    versions = [version(name) for name in ("torch", "numpy", "mlflow")]
    parts = [
        *(repr(model), model.how, data.image_size_px, len(data.classes)),
        *({name: list(value.shape) for name, value in model.state_dict().items()}.items()),
        *(FORMAT, platform.python_version(), platform.machine(), versions, sources),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _export(model: Ensemble, data: DataPlan, into: Path) -> None:
    side = data.image_size_px
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 3, side, side))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(data.classes)))]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of type hints, and of what torch deprecates
        mlflow.pytorch.save_model(
            model,
            str(into),
            serialization_format="pt2",
            signature=signature,
            input_example=np.zeros((BATCH, 3, side, side), np.float32),
            # Named, because MLflow otherwise finds them by loading the model in a process of its
            # own, which takes seconds.
            pip_requirements=[f"torch=={version('torch')}", f"numpy=={version('numpy')}"],
        )


def _copy(template: Path, model: Ensemble, into: Path) -> None:
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
        state = model.state_dict()
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


def _bytes(value: Tensor, entry: dict[str, Any]) -> bytes:
    """A weight as the file has it; raises `Unfit` where the file has it in another way."""
    meta = entry["tensor_meta"]
    strides = [stride["as_int"] for stride in meta["strides"]]
    in_order = value.detach().contiguous()
    if (
        entry["use_pickle"]
        or meta["storage_offset"]["as_int"]
        or strides != list(in_order.stride())
    ):
        raise Unfit("its weights are not plain bytes in order")
    return in_order.numpy().tobytes()
