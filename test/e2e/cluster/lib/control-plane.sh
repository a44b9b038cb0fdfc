# etcd and the three programs of the control plane. Everybody is known by a token of a fixed list: the cluster cannot be
# reached from outside its namespaces.

# certificate NAME SUBJECT ALTERNATIVE-NAMES: a key and a certificate of the cluster's authority
certificate() {
  [ ! -f "$directory/pki/$1.crt" ] || return 0
  (
    cd "$directory/pki"
    openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile <(echo "subjectAltName=$3") -out "$1.crt"
  ) >"$directory/log/openssl.log" 2>&1
}

# kubeconfig FILE TOKEN
kubeconfig() {
  cat >"$1" <<X
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "https://$router:443", certificate-authority: $directory/pki/ca.crt}}]
users: [{name: user, user: {token: $2}}]
contexts: [{name: e2e, context: {cluster: e2e, user: user}}]
current-context: e2e
X
}

prepare_identities() {
  local nodes=$1 number
  (
    cd "$directory/pki"
    [ -f ca.crt ] || openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=e2e -keyout ca.key -out ca.crt
    [ -f service-accounts.key ] || openssl genrsa -out service-accounts.key 2048
  ) >"$directory/log/openssl.log" 2>&1
  {
    echo 'admin-token,admin,admin,"system:masters"'
    echo 'controllers-token,system:kube-controller-manager,controllers'
    echo 'scheduler-token,system:kube-scheduler,scheduler'
    for number in $(seq "$nodes"); do echo "node-token-$number,system:node:node$number,node$number,\"system:nodes\""; done
  } >"$directory/pki/tokens.csv"
  certificate apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$router,IP:$services.1,DNS:localhost,DNS:kubernetes.default.svc"
  certificate kubelet-client /O=system:masters/CN=apiserver-kubelet DNS:localhost
  kubeconfig "$directory/admin.conf" admin-token
  kubeconfig "$directory/controllers.conf" controllers-token
  kubeconfig "$directory/scheduler.conf" scheduler-token
}

start_control_plane() {
  local pki=$directory/pki
  lay_control_plane_network
  prepare_identities "$1"

  start '' etcd etcd --data-dir "$directory/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
  wait_for 60 etcd in_control_plane curl -fs http://127.0.0.1:2379/health

  # shellcheck disable=SC2086 # a list of flags
  start '' kube-apiserver "$(program kube-apiserver)" \
    --etcd-servers=http://127.0.0.1:2379 --secure-port=443 --bind-address=0.0.0.0 --advertise-address=$router \
    --service-cluster-ip-range=$services.0/16 --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$pki/service-accounts.key" --service-account-signing-key-file="$pki/service-accounts.key" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --token-auth-file="$pki/tokens.csv" --kubelet-client-certificate="$pki/kubelet-client.crt" \
    --kubelet-client-key="$pki/kubelet-client.key" --kubelet-preferred-address-types=InternalIP \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true ${APISERVER_FLAGS:-}
  wait_for 90 'API server' in_control_plane curl -fs --cacert "$pki/ca.crt" https://$router/readyz -H 'Authorization: Bearer admin-token'

  # A node that was cut off is noticed after 20 s instead of 50: its heartbeat comes every 5 s instead of 10.
  start '' kube-controller-manager "$(program kube-controller-manager)" --kubeconfig="$directory/controllers.conf" \
    --root-ca-file="$pki/ca.crt" --service-account-private-key-file="$pki/service-accounts.key" \
    --use-service-account-credentials --leader-elect=false --node-monitor-grace-period=20s
  start '' kube-scheduler "$(program kube-scheduler)" --kubeconfig="$directory/scheduler.conf" --leader-elect=false

  # A socket outside of the namespaces, for programs of root: HTTP without certificates, with all rights.
  rm -f "$directory/api.sock"
  start '' api-proxy kubectl proxy --unix-socket="$directory/api.sock" --disable-filter=true
  wait_for 30 'proxy of the API server' test -S "$directory/api.sock"
}
