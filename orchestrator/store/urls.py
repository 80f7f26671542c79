"""What the URL of a database tells: whether another machine reaches it, and itself without secrets.

In: an SQLAlchemy URL, of the store or of MLflow. Out: facts about it. Next on the path: `remote`,
which hands URLs on to a controller on a cluster.
"""

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

SERVERS = {"postgresql", "mysql", "mariadb", "mssql", "oracle"}
SECRET_OPTIONS = ("password", "sslpassword", "passfile", "oauth_client_secret")
"""Options of PostgreSQL's that hold a secret, or name a file of this machine that does."""


def is_server(url: str) -> bool:
    """Whether the URL is that of a database server, which others reach as well."""
    try:
        return make_url(url).get_backend_name() in SERVERS
    except (ArgumentError, ValueError):  # ValueError: of a port that is no number
        return False


def without_secrets(url: str) -> str:
    """The URL without passwords; the same where it has none."""
    parsed = make_url(url).difference_update_query(SECRET_OPTIONS)
    return parsed._replace(password=None).render_as_string(hide_password=False)
