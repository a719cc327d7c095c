# docker build -t spiking-yolo . && docker run --rm -v "$PWD:/data" spiking-yolo detect dog.jpg
FROM python:3.13 AS build
COPY . /src
RUN pip wheel --no-cache-dir --no-deps -w /wheels /src
FROM python:3.13-slim
# For a smaller image: --build-arg PIP_EXTRA_INDEX_URL=... with the address of PyTorch's wheels for CPUs.
ARG PIP_EXTRA_INDEX_URL
RUN --mount=from=build,source=/wheels,target=/wheels pip install --no-cache-dir "$(echo /wheels/*.whl)" \
    && pip install --no-cache-dir --force-reinstall --no-deps opencv-python-headless
ENV HOME=/tmp
WORKDIR /data
ENTRYPOINT ["spiking-yolo"]
