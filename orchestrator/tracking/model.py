"""A job's combined network, logged to MLflow as a `pt2` model.

In: the parts of the network that a succeeded job ended with. Out: a model that
`mlflow.pytorch.load_model("runs:/RUN/model")` gives back without this project installed: images
(B, 3, S, S) float32 in [0, 1] in, probabilities (B, C) out. Next on the path: whoever reviews.

MLflow's `log_model` is not used: it exports every network anew, asks for the history of each of the
run's metrics, and takes its experiment from a setting of the whole process.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

from orchestrator.lease import holder_name, is_gone
from orchestrator.results.networks import Parts
from orchestrator.tracking.client import Experiment
from orchestrator.tracking.runs import MODEL_TAG
from orchestrator.tracking.templates import Templates

MODEL_NAME = "model"
MAKER_TAG = "game.maker"
"""On a model: the process that logs it."""
LONGEST_S = 900.0
"""No process takes longer to send a model's files, unless it is gone."""
NO_MODEL = "none"
"""Stands in the place of a model's id where a team's own code is all there is."""


def log_model(
    experiment: Experiment,
    run_id: str,
    parts: Parts,
    params: Mapping[str, str],
    templates: Templates,
) -> str:
    """Logs the network that a job ended with; returns the model's id."""
    client = experiment.client
    with tempfile.TemporaryDirectory(prefix="gamectl-") as made:
        folder = Path(made) / MODEL_NAME
        templates.write(parts, folder)
        # That may have taken seconds, in which whoever publishes, or a controller, was faster. So
        # may sending the files.
        if (known := known_model(experiment, run_id)) is not None:
            return known
        logged = client.create_logged_model(
            experiment.id,
            name=MODEL_NAME,
            source_run_id=run_id,
            params=dict(params),
            tags={MAKER_TAG: holder_name()},
        )
        model_id = str(logged.model_id)
        # What tells this model from its template.
        record = Model.load(folder)
        record.artifact_path, record.run_id = logged.artifact_location, run_id
        record.model_uuid = record.model_id = model_id
        record.utc_time_created = Model().utc_time_created
        record.metadata = {"classes": list(parts.plans[0].data.classes), "combine": parts.how}
        record.save(folder / MLMODEL_FILE_NAME)
        client.log_model_artifacts(model_id, str(folder))
        client.finalize_logged_model(model_id, "READY")
        if (known := known_model(experiment, run_id)) is not None:
            client.delete_logged_model(model_id)
            return known
        # Last, so that a run never leads to half a model.
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    return model_id


def known_model(experiment: Experiment, run_id: str) -> str | None:
    """The id of the model that a run says it has, if it is there: people may delete it."""
    model_id: str | None = experiment.client.get_run(run_id).data.tags.get(MODEL_TAG)
    if model_id is None or model_id == NO_MODEL:
        return model_id
    try:
        experiment.client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return model_id


def drop_models(experiment: Experiment, run_id: str, now_ms: int) -> None:
    """Drops a run's models that were logged without being told of, as by a killed process.

    One that another process may still be sending files for is left alone.
    """
    for left in experiment.client.search_logged_models(
        [experiment.id], filter_string=f"source_run_id = '{run_id}'"
    ):
        maker = left.tags.get(MAKER_TAG, "")
        is_old = left.creation_timestamp < now_ms - LONGEST_S * 1000
        if is_old or maker == holder_name() or is_gone(maker):
            experiment.client.delete_logged_model(left.model_id)
