# The peer: what one writes at first. The same base and the same locked packages, in one stage.
ARG BASE_IMAGE
# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
# hadolint ignore=DL3008,DL3009,DL3015
RUN apt-get update && apt-get install -y aria2 ca-certificates g++ python3 python3-dev python3-venv tini
COPY . /app
# hadolint ignore=DL3042
RUN --mount=type=bind,from=libmoe-wheelhouse,target=/wheelhouse \
    --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.pem \
    if [ -f /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi \
    && export PIP_CONFIG_FILE=/run/secrets/pip.conf PIP_FIND_LINKS=/wheelhouse \
    && python3 -m venv /opt/libmoe \
    && PIP=/opt/libmoe/bin/pip /app/docker/requirements/install cpu \
    && /opt/libmoe/bin/pip install --no-deps --no-build-isolation /app
ENTRYPOINT ["/opt/libmoe/bin/libmoe"]
