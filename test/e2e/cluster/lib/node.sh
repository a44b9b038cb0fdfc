# A node: a containerd and a kubelet in namespaces of their own. Every node finds its own /var/lib/kubelet,
# /var/lib/chunkstore and /run/chunkstore at these paths, as on a machine of its own. Kernel, /dev and so the loop devices
# are those of the machine, shared by all nodes.

# on_node N COMMAND…
on_node() {
  local number=$1
  shift
  nsenter --net="/run/netns/$network$number" --mount="$directory/namespaces/$number" "$@"
}

lay_node_mounts() {
  local number=$1 own=$directory/node$1
  mkdir -p "$own"/{kubelet,pool,sockets} /var/lib/kubelet /var/lib/chunkstore /run/chunkstore "$directory/namespaces"
  # A mount namespace can be pinned to a file only where mounts are private.
  if ! mountpoint -q "$directory/namespaces"; then
    mount -t tmpfs -o size=1m e2e-namespaces "$directory/namespaces"
    mount --make-private "$directory/namespaces"
  fi
  touch "$directory/namespaces/$number"
  # shellcheck disable=SC2016 # expanded inside
  unshare --mount="$directory/namespaces/$number" --propagation private sh -ec '
    mount --bind "$0/kubelet" /var/lib/kubelet
    mount --bind "$0/pool" /var/lib/chunkstore
    mount --bind "$0/sockets" /run/chunkstore
    mount -t tmpfs e2e-netns /run/netns
    mount --make-rshared /' "$own"
}

write_node_settings() {
  local number=$1 name=node$1 own=$directory/node$1
  mkdir -p "$own/cni"
  certificate "$name" "/CN=$name" "IP:$(node_address "$number"),DNS:$name"
  kubeconfig "$own/kubelet.conf" "node-token-$number"
  # Raising its own standing with the kernel's memory killer is forbidden on machines without CAP_SYS_RESOURCE.
  cat >"$own/containerd.toml" <<X
version = 2
root = "$own/containerd"
state = "$own/containerd-state"
[grpc]
  address = "$own/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause_image"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$own/cni"
X
  cat >"$own/cni/10-pods.conflist" <<X
{"cniVersion": "0.4.0", "name": "pods-$name", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": "$own/addresses", "ranges": [[{"subnet": "10.113.$number.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "loopback"}]}
X
  # Images cannot be pulled again, so they must never be collected. A process that was killed comes back within 5 s,
  # however often it was; on a cluster of its own the kubelet would wait up to five minutes.
  cat >"$own/kubelet.yaml" <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$own/containerd.sock
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
tlsCertFile: $directory/pki/$name.crt
tlsPrivateKeyFile: $directory/pki/$name.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $directory/pki/ca.crt}}
authorization: {mode: Webhook}
address: 0.0.0.0
volumePluginDir: $own/volume-plugins
podLogsDir: $own/pod-logs
resolvConf: ""
clusterDNS: [$services.10]
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
syncFrequency: 10s
nodeLeaseDurationSeconds: 20
nodeStatusUpdateFrequency: 5s
volumeStatsAggPeriod: 10s
featureGates: {KubeletCrashLoopBackOffMax: true}
crashLoopBackOff: {maxContainerRestartPeriod: 5s}
X
}

start_node() {
  local number=$1 own=$directory/node$1
  lay_node_network "$number"
  lay_node_mounts "$number"
  write_node_settings "$number"
  start "$number" "containerd-$number" containerd --config "$own/containerd.toml"
  wait_for 60 "containerd on node$number" containerd_client "$number" version
  containerd_client "$number" images import "$directory/pause.tar" >/dev/null
  start_kubelet "$number"
}

start_kubelet() {
  local number=$1 own=$directory/node$1
  start "$number" "kubelet-$number" "$(program kubelet)" --config="$own/kubelet.yaml" --kubeconfig="$own/kubelet.conf" \
    --root-dir=/var/lib/kubelet --hostname-override="node$number" --node-ip="$(node_address "$number")"
}

restart_kubelet() {
  stop "kubelet-$1"
  start_kubelet "$1"
  # It answers, if only that we may not ask.
  wait_for 60 "kubelet on node$1" on_node "$1" curl -ks https://127.0.0.1:10250/healthz
}

# containerd_client N …: its own client, with a time limit, for what the kubelet runs
containerd_client() {
  local number=$1
  shift
  timeout 300 ctr --address "$directory/node$number/containerd.sock" --namespace k8s.io "$@"
}

node_numbers() {
  local folder
  for folder in "$directory"/node*/; do
    [ ! -d "$folder" ] || basename "$folder" | sed 's/^node//'
  done
}
