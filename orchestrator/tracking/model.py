"""A job's combined network, logged to MLflow as a `pt2` model.

In: the network that a succeeded job ended with. Out: a model that
`mlflow.pytorch.load_model("runs:/RUN/model")` gives back without this project installed: images
(B, 3, S, S) float32 in [0, 1] in, probabilities (B, C) out. Next on the path: whoever reviews.

The requirements are named because MLflow otherwise finds them by loading the model in a process of
its own, which takes seconds; the batch of the example is 2 because torch.export takes a size of 1
for a constant.
"""

import warnings
from importlib.metadata import version

import mlflow
import mlflow.pytorch
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from jobs.ensemble import Ensemble
from jobs.plan import DataPlan
from orchestrator.tracking.client import Experiment, mlflow_errors

MODEL_NAME = "model"


def log_model(experiment: Experiment, run_id: str, model: Ensemble, data: DataPlan) -> None:
    """Logs a network that was trained on such data; raises `TrackingError` where MLflow fails."""
    side = data.image_size_px
    example = np.zeros((2, 3, side, side), np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 3, side, side))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(data.classes)))]),
    )
    with mlflow_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The model goes to the active experiment, whatever the run's is.
        mlflow.set_experiment(experiment_id=experiment.id)
        mlflow.pytorch.log_model(
            model,
            name=MODEL_NAME,
            serialization_format="pt2",
            signature=signature,
            input_example=example,
            pip_requirements=[f"torch=={version('torch')}", f"numpy=={version('numpy')}"],
            metadata={"classes": list(data.classes), "combine": model.how},
            run_id=run_id,
            # Loads the model to try it: half of the time that logging takes, and tests do it once.
            validate_serving_input=False,
        )
