# The serving image: python -m service on port 8000, with the models of /models.
#
#   docker build -t foldin . && docker run -p 8000:8000 -v "$PWD/models:/models:ro" foldin
#
# Build arguments:
#   BASE_IMAGE       any image with Python >= 3.11 as "python"
#   TORCH_INDEX_URL  where torch comes from: PyTorch's index of CPU builds, a tenth of the size of
#                    the CUDA build; empty: PyPI
#   PIP_FIND_LINKS   a folder or page with more wheels, as pip takes it
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS requirements
COPY pyproject.toml .
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /requirements.txt

# A stage, and in the image a layer, that changes with the requirements only; the trainer's image
# has the same one.
FROM ${BASE_IMAGE} AS dependencies
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_FIND_LINKS=
ENV PATH=/opt/foldin/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/foldin
COPY --from=requirements /requirements.txt /requirements.txt
RUN pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$(grep '^torch' /requirements.txt)" \
    && pip install -r /requirements.txt

FROM dependencies AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-deps --wheel-dir /dist .

FROM ${BASE_IMAGE}
ENV PATH=/opt/foldin/bin:$PATH PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1
COPY --from=dependencies /opt/foldin /opt/foldin
RUN useradd --uid 10001 --user-group --no-create-home foldin \
    && mkdir /models && chown foldin:foldin /models
COPY --from=wheel /dist /dist
RUN pip install --no-cache-dir --no-index --no-deps /dist/*.whl
ENV FOLDIN_HOST=0.0.0.0 FOLDIN_MODEL_DIR=/models
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('FOLDIN_PORT', '8000') + '/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "service"]
