# Images without a registry: archives loaded into each node's containerd, and a way to make one of a folder.

pause_image=chunkstore-e2e/pause:1

# write_image FOLDER NAME [PROGRAM]: an OCI image archive of that root file system, on standard output
write_image() {
  local name=$2 entrypoint='' work layer config manifest
  [ -z "${3-}" ] || entrypoint=",\"Entrypoint\":[\"$3\"]"
  # A name without a registry's is one of docker.io, as everywhere.
  case ${name%%/*} in *.*) ;; *) name=docker.io/$name ;; esac
  work=$(mktemp -d)
  mkdir -p "$work/blobs/sha256"
  tar -C "$1" --owner=0 --group=0 --sort=name --mtime=@0 -cf "$work/layer" .
  layer=$(add_blob "$work" <"$work/layer")
  rm "$work/layer"
  config=$(printf '{"architecture":"%s","os":"linux","rootfs":{"type":"layers","diff_ids":["%s"]},"config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]%s}}' \
    "$(architecture)" "${layer% *}" "$entrypoint" | add_blob "$work")
  manifest=$(printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
    "$(descriptor config.v1+json "$config")" "$(descriptor layer.v1.tar "$layer")" | add_blob "$work")
  printf '{"schemaVersion":2,"manifests":[%s]}' \
    "$(descriptor manifest.v1+json "$manifest" ",\"annotations\":{\"io.containerd.image.name\":\"$name\",\"org.opencontainers.image.ref.name\":\"${name##*:}\"}")" \
    >"$work/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
  tar -C "$work" -cf - oci-layout index.json blobs
  rm -rf "$work"
}

# Stores standard input under its digest; prints digest and size.
add_blob() {
  local file digest
  file=$(mktemp "$1/blob.XXXX")
  cat >"$file"
  digest=$(sha256sum "$file" | cut -d ' ' -f 1)
  echo "sha256:$digest $(stat -c %s "$file")"
  mv "$file" "$1/blobs/sha256/$digest"
}

# descriptor TYPE 'DIGEST SIZE' [MORE]
descriptor() { printf '{"mediaType":"application/vnd.oci.image.%s","digest":"%s","size":%s%s}' "$1" "${2% *}" "${2#* }" "${3-}"; }

architecture() {
  case $(uname -m) in x86_64) echo amd64 ;; aarch64) echo arm64 ;; *) uname -m ;; esac
}

# load_image ARCHIVE, or load_image FOLDER NAME [PROGRAM]: on every node. An archive that was loaded is not loaded again.
load_image() {
  local archive=$1 number stamp='' imports=()
  if [ -d "$archive" ]; then
    archive=$(mktemp)
    write_image "$@" >"$archive"
  else
    stamp=$directory/loaded/${archive//\//_}
    [ "$(cat "$stamp" 2>/dev/null)" != "$(stat -c '%i %s %y' "$archive")" ] || return 0
  fi
  for number in $(node_numbers); do
    containerd_client "$number" images import "$archive" >/dev/null &
    imports+=($!)
  done
  for number in "${imports[@]}"; do wait "$number" || fail "$1 could not be loaded on every node"; done
  if [ -n "$stamp" ]; then
    mkdir -p "$directory/loaded"
    stat -c '%i %s %y' "$archive" >"$stamp"
  else
    rm -f "$archive"
  fi
}

# tag_image NAME OTHER-NAME: the same image under another full name too, on every node
tag_image() {
  local number
  for number in $(node_numbers); do containerd_client "$number" images tag --force "$1" "$2" >/dev/null; done
}
