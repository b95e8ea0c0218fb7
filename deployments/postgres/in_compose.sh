#!/bin/sh
# Postgres's own image runs this over an empty volume, with the passwords of secrets/postgres.env in the environment.
set -eu
psql --username "$POSTGRES_USER" --dbname postgres --file /roles.sql
