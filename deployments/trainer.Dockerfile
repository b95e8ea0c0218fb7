# The image of a training: the wrapper as its first process, around the reference trainers or any other command.
#
#   docker build -f deployments/trainer.Dockerfile -t mp-trainer .
#   docker run --env-file run.env mp-trainer                        # the reference trainer of the spec's task
#   docker run --env-file run.env mp-trainer -- python my_train.py  # a command of your own
#
# For GPUs build it on an image that brings CUDA and Python 3.11 or newer: --build-arg BASE=...

ARG BASE=python:3.11-slim
FROM ${BASE}

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY flows ./flows
COPY deployments ./deployments
COPY notebooks/reports ./notebooks/reports
RUN pip install ".[train]" && cp deployments/train.py /app/train.py

# Nobody's root. The run's folder lies on the container's own disk: it survives a restart and goes with the container.
RUN useradd --create-home --uid 1000 trainer && mkdir /var/lib/mp-run && chown trainer /var/lib/mp-run
USER trainer
ENV MP_RUN_DIR=/var/lib/mp-run

ENTRYPOINT ["python", "-m", "mp_kit.trainer"]
