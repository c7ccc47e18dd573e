# One image for every role. Which node a container is, PAXOSD_NAME or NODE_ID says; the configuration
# is mounted at /etc/paxosd, and what acceptors and learners keep lies in /var/lib/paxosd.
#
#   docker build -t paxos-node:latest .
#
# Where there is no image registry or no crates.io:
#   --build-arg RUST_IMAGE=…      an image with Rust and a C linker
#   --build-arg RUNTIME_IMAGE=…   an image with the C library that the program is linked with; it
#                                 needs no shell
#   vendor/                       as `cargo vendor` makes it: the crates come from there
#   dist/paxosd                   a finished program: nothing is compiled, and any image with a
#                                 shell may be the RUST_IMAGE
#
# The program is built by scripts/optimize.sh, which takes two builds and runs a cluster in between.
# Where that takes too long, or rustup cannot add the llvm-tools that it needs:
#   --build-arg OPTIMIZE=no       one plain build; its writes cost a sixth more of the processor
#
# It keeps to what the classic builder of Docker 20.10 knows, so that every builder takes it.

ARG RUST_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot
ARG OPTIMIZE=yes

# Sorts what was sent. The stages below depend on the files that they copy from here, not on this
# stage, so a change in a source file leaves the layer of the dependencies as it is.
FROM ${RUST_IMAGE} AS context
WORKDIR /context
COPY . .
RUN set -eu; \
    mkdir -p /dependencies/src /dependencies/sim/src /dependencies/fuzz/src \
        /dependencies/bench/compare/src /sources; \
    if [ -e dist/paxosd ]; then \
        mv dist /sources/; \
    else \
        mv Cargo.toml Cargo.lock /dependencies/; \
        mv sim/Cargo.toml /dependencies/sim/; \
        mv fuzz/Cargo.toml /dependencies/fuzz/; \
        mv bench/compare/Cargo.toml /dependencies/bench/compare/; \
        # Cargo wants a program in each package before it builds what they depend on.
        for package in . sim fuzz bench/compare; do \
            : >"/dependencies/$package/src/lib.rs"; \
            echo 'fn main() {}' >"/dependencies/$package/src/main.rs"; \
        done; \
        if [ -d vendor ]; then \
            mv vendor /dependencies/; \
            mkdir /dependencies/.cargo; \
            printf '[source.%s]\n%s\n' \
                crates-io 'replace-with = "vendor"' \
                vendor 'directory = "vendor"' >/dependencies/.cargo/config.toml; \
        fi; \
        mv src config scripts /sources/; \
    fi

FROM ${RUST_IMAGE} AS build
ARG OPTIMIZE
WORKDIR /build
COPY --from=context /dependencies/ ./
# By a profile, the dependencies too are built anew each time.
RUN if [ -e Cargo.toml ] && [ "$OPTIMIZE" = no ]; then \
        cargo build --release --locked --bin paxosd; \
    fi
COPY --from=context /sources/ ./
# The files carry the time of their last change, which may lie before the build above: without a
# new one, Cargo would take the empty program for the real one. What a panic needs for its backtrace
# stays in the program, about 2 MB.
RUN set -eu; \
    if [ ! -e dist/paxosd ]; then \
        find src config -type f -exec touch {} +; \
        mkdir dist; \
        if [ "$OPTIMIZE" = no ]; then \
            cargo build --release --locked --bin paxosd; \
            cp target/release/paxosd dist/; \
        else \
            rustup component add llvm-tools; \
            scripts/optimize.sh; \
            cp target/optimized/release/paxosd dist/; \
        fi; \
    fi; \
    install -D -m 0755 dist/paxosd /image/usr/local/bin/paxosd; \
    install -d -m 0755 /image/etc/paxosd /image/var/lib; \
    mkdir /data

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="paxosd" \
    org.opencontainers.image.description="A Multi-Paxos consensus service: one daemon, four roles, plain HTTP" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT"
ENV PAXOSD_CONFIG=/etc/paxosd/cluster.yaml \
    PAXOSD__DATA_DIR=/var/lib/paxosd
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# A leader hands over before it goes.
STOPSIGNAL SIGTERM
# It gives up by itself after 2 s; on a busy machine it takes longer than that to begin.
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/paxosd", "health"]
ENTRYPOINT ["/usr/local/bin/paxosd"]
CMD ["run"]
COPY --from=build /image/ /
# A named volume takes over its owner from here when it is first mounted.
COPY --from=build --chown=65532:65532 /data/ /var/lib/paxosd/
