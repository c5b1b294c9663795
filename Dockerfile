# The light install in a small image, without PyTorch and without pip:
#   docker build -t emotion-edge .
#   docker run --rm --network none --read-only -v "$PWD/samples:/pictures:ro" emotion-edge /pictures
# docs/deploy.md describes options. Another base: --build-arg BASE=python:3.12-slim
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY . .
# The environment keeps this path in the final image, because scripts contain it.
RUN python -m venv --without-pip /opt/emotion-edge
RUN python -m pip --python /opt/emotion-edge/bin/python install --disable-pip-version-check .
RUN /opt/emotion-edge/bin/python scripts/trim_install.py /opt/emotion-edge
# The build fails if this processor or onnxruntime computes something else than the model file expects.
RUN /opt/emotion-edge/bin/emotion-infer --self-test

FROM ${BASE}
COPY --from=build /opt/emotion-edge /opt/emotion-edge
ENV PATH=/opt/emotion-edge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# A number, so that an orchestrator can check that it is not root.
USER 65532:65532
WORKDIR /
ENTRYPOINT ["emotion-infer"]
CMD ["--help"]
