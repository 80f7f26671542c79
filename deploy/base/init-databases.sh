#!/bin/bash
# Run once by the image's entrypoint, when the data folder is empty: a database and an owner for the
# store, and two databases with one owner for MLflow. Passwords come by the environment, so that no
# process list shows them.
set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv game_password GAME_PASSWORD
\getenv mlflow_password MLFLOW_PASSWORD
CREATE ROLE game LOGIN PASSWORD :'game_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE game OWNER game;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE "mlflow-auth" OWNER mlflow;
REVOKE CONNECT ON DATABASE game, mlflow, "mlflow-auth" FROM PUBLIC;
SQL
