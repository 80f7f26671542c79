"""A blank network of an architecture, exported by torch as MLflow writes models.

In: an `Architecture`. Out: a folder as `mlflow.pytorch.save_model` writes it. It is a program of
its own, which `exporter` starts: for each model a line of JSON comes in, and one goes out, with
what went wrong or null.
"""

import json
import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from jobs.ensemble import Ensemble, Stacker
from jobs.monkeynet import build_model
from orchestrator.errors import first_line
from orchestrator.tracking.templates import Architecture

BATCH = 2
"""Of the example: torch.export takes a size of 1 for a constant."""


def export(architecture: Architecture, into: Path) -> None:
    """Writes a model whose weights are all 0 to a new folder."""
    side, num_classes = architecture.image_size_px, architecture.num_classes
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 3, side, side))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, num_classes))]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of type hints, and of what torch deprecates
        mlflow.pytorch.save_model(
            blank(architecture),
            str(into),
            serialization_format="pt2",
            signature=signature,
            input_example=np.zeros((BATCH, 3, side, side), np.float32),
            # Named, because MLflow otherwise finds them by loading the model in a process of its
            # own, which takes seconds.
            pip_requirements=[f"torch=={version('torch')}", f"numpy=={version('numpy')}"],
        )


def blank(architecture: Architecture) -> Ensemble:
    """The network with nothing but zeros in it."""
    num_members, num_classes = len(architecture.members), architecture.num_classes
    with torch.device("meta"):  # no initial weights: drawing them would change later draws
        members = [
            build_model(member, num_classes, architecture.image_size_px)
            for member in architecture.members
        ]
        stacker = None
        if architecture.how == "stacking":
            shape = num_classes, num_members * num_classes
            stacker = Stacker(torch.empty(shape), torch.empty(num_classes))
    network = Ensemble(members, architecture.how, stacker).to_empty(device="cpu")
    for value in network.state_dict().values():
        value.zero_()
    return network


def main() -> None:
    """Exports what is asked for, until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        document, into = json.loads(line)
        why = None
        try:
            export(Architecture.from_dict(document), Path(into))
        except Exception as error:
            why = first_line(error)
        answers.write(json.dumps(why) + "\n")
        answers.flush()
