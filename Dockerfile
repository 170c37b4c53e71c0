# The gateway: Node, the production dependencies and dist/; nothing else, and no health check, because probes do that.
#
#   docker build -t sallyport:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" --build-arg CREATED="$(git log -1 --format=%cI)" .
#
# Both base images are arguments: BUILD_IMAGE needs node, npm and sh, RUNTIME_IMAGE only node. Beside them nothing is fetched but
# packages, from the registry that npm is configured for.
ARG BUILD_IMAGE=node:26.10.0-bookworm-slim
ARG RUNTIME_IMAGE=node:26.10.0-bookworm-slim

FROM ${BUILD_IMAGE} AS dependencies
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# Install scripts are other people's programs; none of our production dependencies needs one.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build.ts scripts/
COPY src src
COPY plugins plugins
COPY routes routes
# The image's own node goes before the one among the dependencies, whose install script did not run.
RUN PATH="$PATH:/build/node_modules/.bin" node scripts/build.ts

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
# Given as arguments, so that the same commit makes the same image.
LABEL org.opencontainers.image.title="sallyport" \
      org.opencontainers.image.description="An API gateway that is the only door" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
WORKDIR /app
COPY --from=dependencies /build/node_modules node_modules
COPY package.json LICENSE ./
COPY --from=build /build/dist dist
ENV NODE_ENV=production \
    SALLYPORT_CONFIG=/etc/sallyport/config
# By number, because Kubernetes' runAsNonRoot cannot judge a name. Nothing of the image is this user's.
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["node", "/app/dist/src/main.js"]
CMD ["start"]
