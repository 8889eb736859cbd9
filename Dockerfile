# PostgreSQL with hnsw_mmap: the official image, and the extension built for it.
#
#   docker build -t postgres-hnsw_mmap .
#   docker build -t postgres-hnsw_mmap --build-arg PG_MAJOR=18 .
#   docker run -e POSTGRES_PASSWORD=… --shm-size 1g postgres-hnsw_mmap
#
# then, in a database: CREATE EXTENSION hnsw_mmap.

ARG PG_MAJOR=17

FROM postgres:${PG_MAJOR} AS build
ARG PG_MAJOR
RUN apt-get update && apt-get install -y --no-install-recommends build-essential "postgresql-server-dev-$PG_MAJOR"
COPY . /usr/src/hnsw_mmap
# Bitcode serves nothing but JIT inlining.
RUN make -C /usr/src/hnsw_mmap -j"$(nproc)" with_llvm=no \
 && make -C /usr/src/hnsw_mmap with_llvm=no install DESTDIR=/install

FROM postgres:${PG_MAJOR}
COPY --from=build /install /
