# The image of the operator's side: flows for Docker and Kubernetes work pools, the edge, and the operator's commands.
#
#   docker build -f deployments/worker.Dockerfile -t mp-worker:0.1.0 .
#   docker run mp-worker:0.1.0 prefect worker start --pool mp --type process   # a worker of a process pool
#   docker run mp-worker:0.1.0 python -m mp_kit.server.serve --host 0.0.0.0    # an edge
#   docker run mp-worker:0.1.0 mp admin migrate                                # the database's tables
#
# No ENTRYPOINT: what a work pool calls a command is the whole command. Secrets come from the environment or from the
# secrets.json of a mounted MP_HOME, never from the image.

ARG BASE=python:3.11-slim
FROM ${BASE}

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY requirements ./requirements
COPY src ./src
COPY flows ./flows
COPY deployments ./deployments
COPY notebooks ./notebooks
COPY docs ./docs
# Versions are those of the lock; Docker's and Kubernetes' workers are not in it, because nothing of ours imports them.
RUN grep -oE '^[A-Za-z0-9._-]+==[^ ]+' requirements/all.txt > /tmp/versions.txt \
  && pip install -c /tmp/versions.txt ".[flows,dask]" prefect-docker==0.7.4 prefect-kubernetes==0.8.0 \
  && rm /tmp/versions.txt

# Nobody's root, and nothing to write but /tmp: the root file system may be read only.
RUN useradd --create-home --uid 1000 mp
USER mp
ENV PREFECT_HOME=/tmp/prefect MP_HOME=/tmp/mp MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache

CMD ["python", "-m", "mp_kit.server.serve", "--host", "0.0.0.0"]
