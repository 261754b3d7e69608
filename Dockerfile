# One image for every process: `kairan api`, `worker`, `dashboard`, `migrate`, or all of them with `kairan up`.
FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project
COPY . .
RUN uv sync --frozen --no-dev

FROM python:3.13-slim
RUN useradd --system --create-home --uid 10001 kairan && install -d -o kairan -g kairan -m 700 /data
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 KAIRAN_DATA_DIR=/data KAIRAN_API_HOST=0.0.0.0
USER kairan
VOLUME /data
EXPOSE 8000 8501
STOPSIGNAL SIGTERM
ENTRYPOINT ["kairan"]
CMD ["up"]
