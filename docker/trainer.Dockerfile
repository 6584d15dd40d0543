# The training image: the foldin command, with the data of the demo. It writes to /models.
#
#   docker build -t foldin-trainer -f docker/trainer.Dockerfile .
#   docker run -v "$PWD/models:/models" foldin-trainer demo --no-serve --out /models
#
# The build arguments are those of the Dockerfile of the service, and so are all lines down to the
# copy of /dist: both images share those stages and layers.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS requirements
COPY pyproject.toml .
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /requirements.txt

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
RUN pip install --no-cache-dir "$(ls /dist/*.whl)[demo]"
USER 10001:10001
ENTRYPOINT ["foldin"]
