# docker build -t tttv . && docker run --gpus all -v "$PWD:/data" tttv segment drive.mp4
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python3 -m venv /opt/tttv && /opt/tttv/bin/pip install --no-cache-dir /src && rm -rf /src

RUN useradd --create-home tttv
USER tttv
WORKDIR /data
ENTRYPOINT ["/opt/tttv/bin/tttv"]
CMD ["--help"]
