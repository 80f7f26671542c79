"""What goes wrong in a round of MLflow's, and whether the round is worth going on with.

In: errors as they come. Out: the first of them, once the rest is written. Used by `projection`.
"""

from orchestrator.errors import ArtifactsAway, GameError, TrackingAway, TrackingError
from orchestrator.tracking.client import Experiment, mlflow_errors

FAILURES_A_ROUND = 3
"""So often it is asked whether MLflow answers at all, and at once where it has not: a server that
is away fails all jobs, after a minute each, and is left alone for a while. What one refuses of some
jobs must not hide the others."""


class Failures:
    """The errors of one round."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._errors: list[GameError] = []

    def add(self, error: GameError) -> bool:
        """Keeps an error; returns whether there is no use in going on."""
        self._errors.append(error)
        away = [e for e in self._errors if isinstance(e, TrackingError | ArtifactsAway)]
        is_time = isinstance(error, TrackingAway) or len(away) % FAILURES_A_ROUND == 0
        if not isinstance(error, TrackingError | ArtifactsAway) or not is_time:
            return False
        return any(isinstance(e, ArtifactsAway) for e in away) or not self._answers()

    def raise_first(self) -> None:
        """Raises the first error, if there was any."""
        if self._errors:
            raise self._errors[0]

    def _answers(self) -> bool:
        try:
            with mlflow_errors():
                self._experiment.client.get_experiment(self._experiment.id)
        except TrackingError:
            return False
        return True
