"""Where things are kept, read once from the environment and handed on as an argument.

In: the variables GAME_HOME, GAME_STORE and MLFLOW_TRACKING_URI. Out: a `Settings` value with the
paths and URLs that follow from them. Read by the commands in `cli`; no other module looks at the
environment.
"""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Paths and URLs of one installation."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

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
    mlflow_tracking_uri: str | None = Field(
        default=None,
        validation_alias="MLFLOW_TRACKING_URI",
        description="where MLflow keeps runs; a SQLite file in the home folder by default",
    )

    @property
    def root(self) -> Path:
        """The home folder as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""
        return self.store or f"sqlite:///{self.root / 'store.db'}"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path | None:
        """Folder for MLflow's artifacts; None where a tracking server decides that itself."""
        return None if self.mlflow_tracking_uri else self.root / "mlartifacts"

    @property
    def artifacts(self) -> Path:
        """Folder of the members' weights."""
        return self.root / "artifacts"

    @property
    def image_cache(self) -> Path:
        """Folder of decoded images; safe to delete."""
        return self.root / "cache" / "images"

    @property
    def data(self) -> Path:
        """Folder of the drawn data set; safe to delete."""
        return self.root / "cache" / "data"

    @property
    def scores(self) -> Path:
        """Folder of the organizer's scores."""
        return self.root / "scores"
