# One image for every process: `axonpush receiver`, `axonpush worker TYPE`, `axonpush console`, `axonpush migrate`, ...
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/axonpush
ENV PATH=/opt/axonpush/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock ./
# The lock only sets versions; the package's own dependencies are installed, so the image has no test tools.
# A compiler for the OTLP parsers in C; the final image has none.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/build && /opt/build/bin/pip install --constraint requirements.lock hatchling
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY schemas schemas
COPY receiver receiver
COPY workers workers
COPY console console
COPY ops ops
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip install --constraint requirements.lock "$(echo /wheels/*.whl)[symbols,tracing]"

FROM python:3.11-slim
RUN groupadd --system --gid 10001 axonpush \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/axonpush --create-home axonpush
COPY --from=build /opt/axonpush /opt/axonpush
ENV PATH=/opt/axonpush/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can check that it is not root. It writes only to /tmp.
USER 10001:10001
WORKDIR /var/lib/axonpush
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
ENTRYPOINT ["axonpush"]
CMD ["--help"]
