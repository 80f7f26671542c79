"""Where things are kept, read once from the environment and handed on as an argument.

In: the variables GAME_HOME, GAME_STORE, GAME_ARTIFACTS, MLFLOW_TRACKING_URI and RAY_ADDRESS. Out: a
`Settings` value with the paths and URLs that follow from them. Read by the commands in `cli`; no
other module looks at the environment.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.places import Where, at_home, where


class Settings(BaseSettings):
    """Paths and URLs of one installation."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path = Field(
        default=Path(".game"),
        validation_alias="GAME_HOME",
        description="folder for everything that is kept: store, weights, scores, image cache",
    )
    store: str | None = Field(
        default=None,
        validation_alias="GAME_STORE",
        description="SQLAlchemy URL of the store; a SQLite file in the home folder by default",
    )
    artifacts_uri: str | None = Field(
        default=None,
        validation_alias="GAME_ARTIFACTS",
        description="folder or fsspec URI (s3://BUCKET/PREFIX) for what training leaves behind: "
        "weights, checkpoints, logs; in the home folder by default",
    )
    mlflow_tracking_uri: str | None = Field(
        default=None,
        validation_alias="MLFLOW_TRACKING_URI",
        description="where MLflow keeps runs; a SQLite file in the home folder by default",
    )
    ray_address: str | None = Field(
        default=None,
        validation_alias="RAY_ADDRESS",
        description="a Ray cluster to join; one is started on this machine by default",
    )

    @classmethod
    def with_defaults(cls, defaults: Mapping[str, str]) -> Self:
        """The settings of the environment; `defaults`, by variable, fill in what it leaves out."""
        said = cls().model_fields_set
        unsaid: dict[str, Any] = {
            variable: value
            for variable, value in defaults.items()
            if cls.variables()[variable] not in said
        }
        return cls(**unsaid)

    @classmethod
    def variables(cls) -> dict[str, str]:
        """The variables that are read, and the fields they fill."""
        return {str(field.validation_alias): name for name, field in cls.model_fields.items()}

    @property
    def root(self) -> Path:
        """The home folder as an absolute path."""
        with _said_in("GAME_HOME"):
            return at_home(str(self.home)).absolute()

    @property
    def store_file(self) -> Path | None:
        """The store's SQLite file; None where GAME_STORE names a server, or no file."""
        return _sqlite_file(self.store) if self.store else self.root / "store.db"

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""
        return self.store or sqlite_url(self.root / "store.db")

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI."""
        return self.mlflow_tracking_uri or sqlite_url(self.root / "mlflow.db")

    @property
    def mlflow_artifacts(self) -> Path | None:
        """Folder for MLflow's artifacts; None where a tracking server decides that itself."""
        served = self.tracking_uri.startswith(("http://", "https://"))
        return None if served else self.root / "mlartifacts"

    @property
    def artifacts(self) -> Where:
        """Folder or URI of the members' weights."""
        if not self.artifacts_uri:
            return self.root / "artifacts"
        with _said_in("GAME_ARTIFACTS"):
            return where(self.artifacts_uri)

    @property
    def image_cache(self) -> Path:
        """Folder of decoded images; safe to delete."""
        return self.root / "cache" / "images"

    @property
    def data(self) -> Path:
        """Folder of the drawn data set; safe to delete."""
        return self.root / "cache" / "data"

    @property
    def fetched(self) -> Path:
        """Folder of data that was fetched from a URI; safe to delete."""
        return self.root / "cache" / "fetched"

    @property
    def teacher_logits(self) -> Path:
        """Folder of what teachers say about images; safe to delete."""
        return self.root / "cache" / "teachers"

    @property
    def model_templates(self) -> Path:
        """Folder of what models in MLflow have in common; safe to delete."""
        return self.root / "cache" / "models"

    @property
    def teachers(self) -> Path:
        """Folder of the teachers that were trained here."""
        return self.root / "teachers"

    @property
    def scores(self) -> Path:
        """Folder of the organizer's scores."""
        return self.root / "scores"


@contextmanager
def _said_in(variable: str) -> Iterator[None]:
    """Tell of a place that cannot be one which variable names it: a path alone may be anybody's."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{variable}: {error.strerror}") from error


def _sqlite_file(url: str) -> Path | None:
    # As SQLAlchemy reads it, which takes too long to import for asking whether a file is there.
    found = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", url)
    if found is None or found[1] == ":memory:" or found[1].startswith("file:"):
        return None
    return Path(unquote(found[1])).absolute()


def sqlite_url(path: Path) -> str:
    """SQLAlchemy's URL of a SQLite file."""
    # In a URL a question mark would begin the options, and a percent sign an escape.
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"
