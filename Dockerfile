# The command line on a CPU: docker build -t mambairv2 . && docker run --rm -v "$PWD:/images" mambairv2 restore photo.jpg
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml constraints.txt CMakeLists.txt README.md LICENSE /source/
COPY csrc /source/csrc
COPY src /source/src
WORKDIR /source
RUN python -m venv /opt/mambairv2
RUN /opt/mambairv2/bin/pip install --no-cache-dir -c constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu .
RUN /opt/mambairv2/bin/python -c "from mambairv2.ops import backends; why = backends()['native']; assert why is None, why"

FROM python:3.12-slim
COPY --from=build /opt/mambairv2 /opt/mambairv2
ENV PATH=/opt/mambairv2/bin:$PATH
# Files belong to whoever runs it: docker run --user "$(id -u):$(id -g)" …
USER nobody
ENV HOME=/tmp
WORKDIR /images
ENTRYPOINT ["mambairv2"]
CMD ["--help"]
