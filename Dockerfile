# docker build -t wootric-stream:0.2.0 .
# The digest is that of an index of platforms; .github/dependabot.yml raises it. Another base: --build-arg PYTHON=image
ARG PYTHON=base
FROM python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS base

FROM ${PYTHON} AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml requirements.lock requirements-aws.lock README.md LICENSE scripts/runtime_lock.py ./
# What the lock pins for run time, by hash. Nothing is compiled here: no compiler, no other source.
RUN python3 runtime_lock.py . > runtime.lock \
    && python3 -m venv /opt/wootric-stream \
    && /opt/wootric-stream/bin/pip install --require-hashes --only-binary :all: --requirement runtime.lock
# --build-arg EXTRA_LOCK=requirements-aws.lock: Amazon MSK with IAM.
ARG EXTRA_LOCK=""
RUN [ -z "$EXTRA_LOCK" ] \
    || /opt/wootric-stream/bin/pip install --require-hashes --only-binary :all: --requirement "$EXTRA_LOCK"
COPY stream stream
COPY sink sink
COPY schemas schemas
RUN /opt/wootric-stream/bin/pip install --no-deps --no-build-isolation . \
    && /opt/wootric-stream/bin/pip check \
    && /opt/wootric-stream/bin/pip uninstall --yes setuptools pip

FROM ${PYTHON}
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="wootric-stream" \
      org.opencontainers.image.description="Segment's Wootric destination on Kafka: exactly once, page views at most once" \
      org.opencontainers.image.documentation="https://wootric-stream.example/docs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The base's pip and the wheels from which Python could install it again, of the official image and of Debian.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/site-packages/pip* \
           /usr/lib/python3*/ensurepip /usr/share/python-wheels
# Arenas: glibc makes eight per core, and each keeps the peak of its use; Kafka's client and RocksDB have forty threads.
# Threshold: larger blocks are returned when they are freed. By default glibc raises it up to 32 MB, and the heap
# fragments. Source: mallopt(3).
COPY --from=build /opt/wootric-stream /opt/wootric-stream
ENV PATH=/opt/wootric-stream/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    MALLOC_MMAP_THRESHOLD_=131072
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080 8090
ENTRYPOINT ["/opt/wootric-stream/bin/wootric-stream"]
CMD ["run"]
