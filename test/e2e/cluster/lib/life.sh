# The whole cluster: whether it can run here, up, and down to the last trace.

lacks() {
  local found=0 program needed own
  lack() {
    echo "$*"
    found=1
  }
  [ "$(id -u)" = 0 ] || lack 'it must run as root'
  for program in etcd containerd ctr runc openssl ip curl kubectl nsenter unshare flock setsid; do
    command -v "$program" >/dev/null || lack "not installed: $program"
  done
  [ -x /usr/lib/cni/bridge ] && [ -x /usr/lib/cni/host-local ] || lack 'not installed: CNI plugins in /usr/lib/cni'
  grep -qw overlay /proc/filesystems || modprobe -q overlay 2>/dev/null || lack 'the kernel has no overlayfs'
  [ "$(id -u)" != 0 ] || unshare --mount --net true 2>/dev/null || lack 'the kernel allows no namespaces here'
  if [ -n "$(unbuilt_modules)" ]; then
    needed=$(needed_go)
    if ! command -v go >/dev/null; then
      lack "not installed: Go $needed or newer"
    else
      own=$(GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//')
      [ "$(printf '%s\n%s\n' "$needed" "$own" | sort -V | head -n 1)" = "$needed" ] || lack "Go $own is older than $needed"
    fi
  fi
  return $found
}

is_up() { [ -f "$directory/up" ] && runs kube-apiserver && has_namespace "$network"; }

up() {
  local nodes=$1 number image missing
  is_up && { say "it is up already, with the nodes $(node_numbers | tr '\n' ' ')" && return; }
  [[ $nodes =~ ^[1-9]$ ]] || fail "it can have 1 to 9 nodes, not $nodes"
  missing=$(lacks) || fail "this machine cannot run it: ${missing//$'\n'/; }"
  build
  # What is there is a cluster that did not come up, or one from before a restart of the machine.
  [ ! -e "$directory" ] || down
  mkdir -p "$directory"/{log,pid,pki}
  chmod 711 "$directory"
  # A cluster that does not come up is taken down again; of it, only the logs stay.
  trap 'abandon_start' EXIT

  image=$(mktemp -d)
  cp "$(program pause)" "$image/pause"
  write_image "$image" "$pause_image" /pause >"$directory/pause.tar"
  rm -rf "$image"

  start_control_plane "$nodes"
  for number in $(seq "$nodes"); do start_node "$number"; done
  for number in $(seq "$nodes"); do wait_for 60 "node$number" in_control_plane kubectl get node "node$number"; done
  in_control_plane kubectl wait --for=condition=Ready node --all --timeout=90s >&2
  wait_for 60 'default service account' in_control_plane kubectl get serviceaccount default
  touch "$directory/up"
  trap - EXIT
}

abandon_start() {
  local kept
  kept=$(mktemp -d /tmp/e2e-cluster-logs.XXXX)
  cp -r "$directory/log/." "$kept" || true
  say "it did not come up; taking it down again. Its logs are in $kept; the last lines of each:"
  tail -n 3 "$kept"/*.log >&2 || true
  down || true
}

down() {
  local number devices
  [ -d "$directory" ] || return 0
  # One whose etcd is dead answers nothing, and each of these would wait its minute for it.
  if runs kube-apiserver && in_control_plane timeout 10 kubectl get --raw /readyz >/dev/null 2>&1; then end_pods; fi
  for number in api-proxy kube-scheduler kube-controller-manager; do stop "$number"; done
  for number in $(node_numbers); do
    stop "kubelet-$number"
    end_containers "$number"
    stop "containerd-$number"
  done
  for number in kube-apiserver etcd; do stop "$number"; done
  end_strangers
  devices=$(volume_devices)
  delete_mounts
  detach "$devices"
  for number in $(node_numbers) ''; do ip netns del "$network$number" 2>/dev/null || true; done
  delete_state
}

# Pods with volumes go before the driver, which has to unmount what they used. All of it is bounded, and a cluster in
# any state is taken down by force below.
end_pods() {
  delete_pods 'metadata.namespace!=chunkstore'
  for _ in $(seq 20); do
    [ -n "$(staged_mounts)" ] || break
    sleep 0.5
  done
  delete_pods ''
}

# delete_pods FIELD-SELECTOR
delete_pods() {
  local delete='in_control_plane timeout 60 kubectl delete -A'
  $delete daemonsets,deployments,statefulsets,jobs --field-selector "$1" --wait=false >/dev/null 2>&1 || true
  $delete pods --field-selector "$1" --grace-period=2 >/dev/null 2>&1 || true
}

staged_mounts() {
  local number
  for number in $(node_numbers); do
    on_node "$number" awk '$2 ~ "/plugins/kubernetes.io/csi/" { print $2 }' /proc/self/mounts 2>/dev/null || true
  done
}

end_containers() {
  local container
  for container in $(containerd_client "$1" tasks ls -q 2>/dev/null); do
    timeout 20 ctr --address "$directory/node$1/containerd.sock" --namespace k8s.io tasks rm -f "$container" >/dev/null 2>&1 || true
  done
}

# Whatever of ours still runs: in one of our namespaces, in a container of ours, or a container's shim.
end_strangers() {
  local pid
  for pid in $(strangers); do kill -9 "$pid" 2>/dev/null || true; done
  for _ in $(seq 50); do
    [ -n "$(strangers)" ] || return 0
    sleep 0.1
  done
  say "these processes do not end: $(strangers | tr '\n' ' ')"
}

strangers() {
  local process number inode spaces=' ' containers
  # Containerd's state is there also when containerd is not; each container's control group bears its name.
  containers=$(ls -d "$directory"/node*/containerd-state/io.containerd.runtime.v2.task/k8s.io/* 2>/dev/null | sed 's,.*/,/k8s.io/,')
  for number in '' $(node_numbers); do
    inode=$(stat -L -c %i "/run/netns/$network$number" 2>/dev/null) && spaces+="net:[$inode] "
    inode=$(stat -L -c %i "$directory/namespaces/$number" 2>/dev/null) && spaces+="mnt:[$inode] "
  done
  for process in /proc/[0-9]*; do
    if [[ $spaces == *" $(readlink "$process/ns/net" || echo -) "* || $spaces == *" $(readlink "$process/ns/mnt" || echo -) "* ]] ||
      { [ -n "$containers" ] && grep -qF "$containers" "$process/cgroup"; } || [[ $(tr '\0' ' ' <"$process/cmdline") == *containerd-shim*" -address $directory/"* ]]; then
      echo "${process#/proc/}"
    fi
  done 2>/dev/null
}

# Loop devices under what is mounted or published on our nodes; those that the kubelet stacks on others first. They stay
# only if no driver could be asked to take them down.
volume_devices() {
  local number backing path
  {
    for backing in /sys/block/loop*/loop/backing_file; do
      path=$(cat "$backing" 2>/dev/null) || continue
      for number in $(node_numbers); do
        [[ $path != /var/lib/kubelet/* || ! -e $directory/node$number/${path#/var/lib/} ]] || echo "$backing" | sed 's,^/sys/block/\(loop[0-9]*\)/.*,/dev/\1,'
      done
    done
    for number in $(node_numbers); do
      on_node "$number" awk '$5 ~ "^/var/lib/kubelet/" {
        if ($4 ~ "^/loop[0-9]+$") print "/dev" $4
        for (field = 7; field <= NF; field++) if ($field ~ "^/dev/loop[0-9]+$") print $field
      }' /proc/self/mountinfo 2>/dev/null || true
    done
  } | awk '!seen[$0]++'
}

detach() {
  local device
  for device in $1; do
    say "detaching $device, which a volume has left over"
    losetup -d "$device" 2>/dev/null || true
  done
}

delete_mounts() {
  local file mounted
  for file in "$directory"/namespaces/*; do
    [ ! -e "$file" ] || umount "$file" 2>/dev/null || true
  done
  awk -v folder="$directory/" 'index($2, folder) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mounted; do
    umount -l "$(printf '%b' "$mounted")" 2>/dev/null || true
  done
}

delete_state() {
  for _ in $(seq 20); do
    rm -rf "$directory" 2>/dev/null && return
    sleep 0.5
  done
  fail "$directory is still in use"
}
