# The image of a training: the wrapper as its first process, around the reference trainers or any other command.
#
#   docker build -f deployments/trainer.Dockerfile -t mp-trainer:0.1.0 .
#   docker run --env-file run.env mp-trainer:0.1.0                        # the reference trainer of the spec's task
#   docker run --env-file run.env mp-trainer:0.1.0 -- python my_train.py  # a command of your own
#
# For GPUs build it on an image that brings CUDA and Python 3.11 or newer: --build-arg BASE=...

ARG BASE=python:3.11.14-slim-trixie
FROM ${BASE} AS build
WORKDIR /src
COPY requirements ./requirements
RUN python -m venv /opt/uv \
  && /opt/uv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/bootstrap.txt \
  && python -m venv --without-pip /opt/mp
# Hashes of constraints are checked, too: whatever is not as the lock says is refused.
COPY pyproject.toml README.md LICENSE ./
RUN /opt/uv/bin/uv pip install --no-cache --python /opt/mp/bin/python --only-binary :all: --compile-bytecode \
  -c requirements/all.txt -r pyproject.toml --extra train --extra hub --extra wandb
COPY src ./src
COPY flows ./flows
COPY deployments ./deployments
COPY docs ./docs
COPY notebooks/reports ./notebooks/reports
RUN /opt/uv/bin/uv pip install --no-cache --python /opt/mp/bin/python --no-deps --compile-bytecode \
  --build-constraints requirements/all.txt .

FROM ${BASE}
# Nobody's root. The run's folder lies on the container's own disk: it survives a restart and goes with the container.
RUN useradd --no-log-init --create-home --uid 1000 trainer \
  && mkdir /var/lib/mp-run && chown trainer /var/lib/mp-run
COPY --from=build /opt/mp /opt/mp
WORKDIR /app
COPY deployments/train.py ./train.py
ENV PATH=/opt/mp/bin:$PATH PYTHONUNBUFFERED=1 MP_RUN_DIR=/var/lib/mp-run
USER 1000:1000
# The wrapper tells the marketplace that it lives; a container engine has nothing to ask.
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "mp_kit.trainer"]
