# docker build -t tttv .                             with CUDA: torch brings its own CUDA libraries, the host its driver
# docker build -t tttv --build-arg TORCH=cpu .       without, about a quarter as large
# docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/data" tttv segment drive.mp4
FROM python:3.13-slim

# Names on pictures in letters that other languages have, too.
RUN apt-get update && apt-get install -y --no-install-recommends fonts-dejavu-core && rm -rf /var/lib/apt/lists/*

ARG TORCH=cuda
RUN if [ "$TORCH" = cpu ]; then \
        pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu; \
    fi
COPY . /src
RUN pip install --no-cache-dir "/src[demo,report]" && rm -rf /src

# Whoever runs it may name another user, who then owns what it writes into /data.
RUN useradd --create-home tttv && chmod 777 /home/tttv
ENV HOME=/home/tttv
USER tttv
WORKDIR /data
ENTRYPOINT ["tttv"]
CMD ["--help"]
