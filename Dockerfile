# The app on its own: CPU, non-root, starts offline.
#   docker build -t subhull .
#   docker build -t subhull:cuda --build-arg TORCH_INDEX= .     torch for CUDA, the one that PyPI has for Linux
#   docker run -p 127.0.0.1:8501:8501 -v subhull:/data subhull
FROM python:3.11-slim AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /app
# Where torch comes from, beside PyPI: its builds for the CPU alone are a tenth in size
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# requirements-cluster.txt adds Slurm, Ray and S3
ARG REQUIREMENTS=
COPY requirements*.txt ./
RUN python -m venv .venv \
    && torch="$(grep '^torch==' requirements.txt)" \
    && .venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$torch" \
    && for file in requirements.txt $REQUIREMENTS; do .venv/bin/pip install --no-cache-dir -r "$file" || exit 1; done
# By name: secrets and back-ups that lie beside them stay out
COPY app.py LICENSE ./
COPY .streamlit .streamlit
COPY assets assets
COPY core core
COPY db db
COPY pages pages
RUN .venv/bin/python -m core.ui.assets
# M3GNet's weights; without a connection to their hub: --build-arg POTENTIALS=
ARG POTENTIALS=m3gnet
ENV MATGL_CACHE=/app/potentials
RUN mkdir -p "$MATGL_CACHE" \
    && for name in $POTENTIALS; do .venv/bin/python -W ignore -m core potentials fetch "$name" || exit 1; done

FROM python:3.11-slim
RUN useradd --create-home --uid 1000 subhull && mkdir /data && chown subhull /data
COPY --from=build --chown=subhull /app /app
USER 1000
WORKDIR /app
ENV SUBHULL_VAR=/data MATGL_CACHE=/app/potentials HF_HUB_OFFLINE=1 PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=15s --timeout=6s --start-period=90s --retries=4 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=5)"]
CMD ["python", "-m", "streamlit", "run", "app.py", "--server.address", "0.0.0.0"]
