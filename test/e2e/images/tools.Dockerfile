# The pods of the tests: a shell with what writes, reads, mounts and measures volumes.
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update \
  && apt-get install -y --no-install-recommends btrfs-progs e2fsprogs fio mount openssl procps util-linux xxd \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
CMD ["sleep", "infinity"]
