FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --uid 10001 --create-home vecscope && install --directory --owner=vecscope /data
WORKDIR /app

# Before the code, so that a change of code does not install again. No compiler is needed.
COPY requirements.txt .
RUN pip install --only-binary :all: -r requirements.txt

COPY . .
RUN python -m compileall -q app.py lib pages migrations

# Without DATABASE_URL the bundled PostgreSQL keeps its data in /data. Streamlit would ask a server
# on the internet for its own address, were it not given one.
ENV VECSCOPE_HOME=/data \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_BROWSER_SERVER_ADDRESS=localhost
VOLUME /data
USER vecscope
EXPOSE 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["python", "-m", "streamlit", "run", "app.py", "--server.port=8501"]
