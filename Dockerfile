# Images of plainfilm: `web` (no TensorFlow in it), `worker` (CPU) and `worker-gpu`. `docker compose build` makes them.
# Installed from uv.lock alone; nothing of the build stages but the finished environment reaches a final image.

FROM python:3.11-slim-bookworm AS python

FROM python AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/plainfilm \
    UV_PYTHON=/usr/local/bin/python3.11 \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_CACHE=1
RUN python -m pip install --no-cache-dir uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock ./

# In each: first what changes seldom (the locked packages), then our own code as a wheel, not as a link to /src.
FROM build AS build-web
RUN uv sync --frozen --no-dev --no-install-project --extra web
COPY README.md LICENSE ./
COPY shared shared
COPY web web
COPY worker worker
COPY training training
COPY migrations migrations
RUN uv sync --frozen --no-dev --no-editable --extra web

FROM build AS build-worker
RUN uv sync --frozen --no-dev --no-install-project --extra worker
COPY README.md LICENSE ./
COPY shared shared
COPY web web
COPY worker worker
COPY training training
COPY migrations migrations
RUN uv sync --frozen --no-dev --no-editable --extra worker

# `gpu` stands in the place of `worker`: two TensorFlow wheels in one environment overwrite each other's files.
FROM build AS build-worker-gpu
RUN uv sync --frozen --no-dev --no-install-project --extra gpu
COPY README.md LICENSE ./
COPY shared shared
COPY web web
COPY worker worker
COPY training training
COPY migrations migrations
RUN uv sync --frozen --no-dev --no-editable --extra gpu

# The user's number is fixed, so that web and workers own the films of their common volume.
FROM python AS base
RUN groupadd --gid 10001 plainfilm \
    && useradd --uid 10001 --gid plainfilm --no-create-home --home-dir /data --shell /usr/sbin/nologin plainfilm \
    && install --directory --owner=plainfilm --group=plainfilm --mode=0700 /data
ENV PATH=/opt/plainfilm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PLAINFILM_HOME=/data
WORKDIR /data
VOLUME /data

# Also runs the migrations: `plainfilm db upgrade`.
FROM base AS web
COPY --from=build-web /opt/plainfilm /opt/plainfilm
ENV PLAINFILM_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["plainfilm", "web", "run"]

# Alive means: this container's worker polled the database lately. Asking costs a new interpreter, so seldom. A worker
# that dies ends its container, which Compose starts again.
FROM base AS base-worker
USER 10001:10001
HEALTHCHECK --interval=60s --timeout=30s --start-period=120s --retries=3 \
    CMD ["python", "-m", "worker.alive"]
CMD ["plainfilm", "worker", "run", "--pool", "solo"]

FROM base-worker AS worker
COPY --from=build-worker /opt/plainfilm /opt/plainfilm

FROM base-worker AS worker-gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-worker-gpu /opt/plainfilm /opt/plainfilm
