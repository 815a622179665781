# The app on its own: CPU, non-root, starts offline.
#   docker build -t subhull .
#   docker run -p 127.0.0.1:8501:8501 -v subhull:/data subhull
FROM python:3.11-slim AS build
WORKDIR /app
COPY requirements.txt .
RUN python -m venv .venv && .venv/bin/pip install --no-cache-dir -r requirements.txt
COPY . .
RUN .venv/bin/python -m core.ui.assets

FROM python:3.11-slim
RUN useradd --create-home subhull && mkdir /data && chown subhull /data
COPY --from=build --chown=subhull /app /app
USER subhull
WORKDIR /app
ENV SUBHULL_VAR=/data
EXPOSE 8501
HEALTHCHECK CMD ["/app/.venv/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=5)"]
CMD ["/app/.venv/bin/python", "-m", "streamlit", "run", "app.py", "--server.address", "0.0.0.0"]
