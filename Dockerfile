# docker build -t wootric-stream:0.1.0 .
# Pin the base by digest for releases: --build-arg PYTHON=python:3.13-slim@sha256:…
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml requirements.lock README.md LICENSE scripts/runtime_lock.py ./
# What the lock pins for run time, by hash. Nothing is compiled here: no compiler, no other source.
RUN python3 runtime_lock.py . > runtime.lock \
    && python3 -m venv /opt/wootric-stream \
    && /opt/wootric-stream/bin/pip install --require-hashes --only-binary :all: --requirement runtime.lock
COPY stream stream
COPY sink sink
COPY schemas schemas
RUN /opt/wootric-stream/bin/pip install --no-deps --no-build-isolation . \
    && /opt/wootric-stream/bin/pip check \
    && /opt/wootric-stream/bin/pip uninstall --yes setuptools pip

FROM ${PYTHON}
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
