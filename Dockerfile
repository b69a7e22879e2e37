# Two stages: the first builds the environment and prepares the models, the second carries what came
# of it and nothing else. Every step is a call of docker/build.sh, so that the tests can run it.
ARG PYTHON_VERSION=3.11
ARG BUILD_BASE=python:${PYTHON_VERSION}
ARG RUN_BASE=python:${PYTHON_VERSION}-slim

FROM ${BUILD_BASE} AS builder
# PyTorch's CPU builds. Empty: the package index's own build, which is the one for CUDA.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
# Names of models to make ready besides the default ones.
ARG MODELS=""
ENV VENV=/opt/venv \
    CACHE_DIR=/opt/models \
    PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY docker/build.sh docker/build.sh
COPY scripts/install.sh scripts/install.sh
COPY requirements requirements
RUN docker/build.sh packages
COPY pyproject.toml README.md LICENSE ./
COPY clients clients
COPY service service
RUN docker/build.sh project
RUN docker/build.sh models
RUN docker/build.sh trim

FROM ${RUN_BASE}
COPY docker/build.sh docker/entrypoint.sh docker/healthcheck.py /opt/docker/
RUN /opt/docker/build.sh user
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /opt/models /opt/models
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    HF_HOME=/data/hub \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SECONDPASS_CACHE_DIR=/opt/models \
    SECONDPASS_DATA_DIR=/data \
    SECONDPASS_HOST=0.0.0.0 \
    SECONDPASS_PORT=8000
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# The first start with a demo corpus encodes it before it answers: that may take minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 CMD ["python", "/opt/docker/healthcheck.py"]
ENTRYPOINT ["/opt/docker/entrypoint.sh"]
CMD ["serve"]
