# The image of the operator's side: flows of Docker and Kubernetes work pools, Prefect's server, the operator's commands.
#
#   docker build -f deployments/worker.Dockerfile -t mp-worker:0.1.0 .
#   docker run --env-file secrets/operator.env mp-worker:0.1.0 mp admin migrate
#   docker run --env-file secrets/operator.env mp-worker:0.1.0 prefect worker start --pool mp --type process
#
# No ENTRYPOINT: what a work pool calls a command is the whole command. BASE is an exact tag; pass one with its digest to
# pin what you have looked at. Secrets come from the environment or from the secrets.json of a mounted MP_HOME.

ARG BASE=python:3.11.14-slim-trixie
FROM ${BASE} AS build
WORKDIR /src
COPY requirements ./requirements
RUN python -m venv /opt/uv \
  && /opt/uv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/bootstrap.txt \
  && python -m venv --without-pip /opt/mp
# Hashes of constraints are checked, too: whatever is not as the locks say is refused.
COPY pyproject.toml README.md LICENSE ./
RUN /opt/uv/bin/uv pip install --no-cache --python /opt/mp/bin/python --only-binary :all: --compile-bytecode \
  -c requirements/all.txt -c requirements/workers.txt -r requirements/workers.in \
  -r pyproject.toml --extra flows --extra dask --extra otel
COPY src ./src
COPY flows ./flows
COPY deployments ./deployments
COPY docs ./docs
COPY notebooks/reports ./notebooks/reports
RUN /opt/uv/bin/uv pip install --no-cache --python /opt/mp/bin/python --no-deps --compile-bytecode \
  --build-constraints requirements/all.txt .

FROM ${BASE}
# `mp admin backup` and `restore` over TLS: the programs of the embedded Postgres are built without it. Signed by Debian;
# its mirrors keep no older version that could be pinned.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends postgresql-client \
  && rm -rf /var/lib/apt/lists/*
# Nobody's root, and nothing to write but /tmp: the root file system may be read only.
RUN useradd --no-log-init --create-home --uid 1000 mp
COPY --from=build /opt/mp /opt/mp
# Deployments name flows by their path below this folder.
WORKDIR /app
COPY flows ./flows
COPY deployments ./deployments
# Prefect's server makes its pages when it starts; where it may not write them, it serves none, healthy as ever.
ENV PATH=/opt/mp/bin:$PATH PYTHONUNBUFFERED=1 PREFECT_HOME=/tmp/prefect PREFECT_UI_STATIC_DIRECTORY=/tmp/prefect-ui \
  MP_HOME=/tmp/mp MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache
USER 1000:1000
EXPOSE 4200 8080
# A worker polls, or it is unhealthy. Whatever else runs in this image says what health is: compose.yaml, kubernetes/.
HEALTHCHECK --interval=15s --timeout=5s --start-period=90s --retries=4 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/health', timeout=4)"]
CMD ["prefect", "worker", "start", "--pool", "mp", "--type", "process", "--with-healthcheck"]
