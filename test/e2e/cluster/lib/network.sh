# Network namespaces: one for the control plane, with a bridge that all nodes are joined to, and one a node. None has a
# way out of the machine, and nothing outside can reach in.

in_control_plane() { nsenter --net="/run/netns/$network" "$@"; }
in_node_network() {
  local number=$1
  shift
  nsenter --net="/run/netns/$network$number" "$@"
}

has_namespace() { [ -e "/run/netns/$1" ]; }

lay_control_plane_network() {
  has_namespace "$network" && return
  ip netns add "$network"
  in_control_plane ip link set lo up
  in_control_plane sysctl -qw net.ipv4.ip_forward=1
  in_control_plane ip link add nodes0 type bridge
  in_control_plane ip addr add $router/24 dev nodes0
  in_control_plane ip link set nodes0 up
  # Pods call the API server by the address of the Service "kubernetes"; without a kube-proxy it answers there itself.
  in_control_plane ip addr add $services.1/32 dev lo
  in_control_plane ip route add default via $router
}

node_address() { echo "10.111.0.$((10 + $1))"; }

lay_node_network() {
  local number=$1 namespace=$network$1
  has_namespace "$namespace" && return
  ip netns add "$namespace"
  in_node_network "$number" ip link set lo up
  in_node_network "$number" sysctl -qw net.ipv4.ip_forward=1
  in_control_plane ip link add "node$number" type veth peer name eth0 netns "$namespace"
  in_control_plane ip link set "node$number" master nodes0 up
  in_node_network "$number" ip addr add "$(node_address "$number")/24" dev eth0
  in_node_network "$number" ip link set eth0 up
  in_node_network "$number" ip route add default via $router
  in_control_plane ip route add "10.113.$number.0/24" via "$(node_address "$number")"
}

cut_node() { in_control_plane ip link set "node$1" down; }
join_node() { in_control_plane ip link set "node$1" up; }
