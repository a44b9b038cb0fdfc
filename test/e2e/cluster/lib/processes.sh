# Daemons and how they end. A process is known by its id and the moment of its start, so that nobody else's process is
# ever signalled, not even after a restart of the machine.

started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# start NODE NAME PROGRAM…: a daemon on that node, or of the control plane ("")
start() {
  local node=$1 name=$2 pid namespaces=("--net=/run/netns/$network$1")
  shift 2
  [ -z "$node" ] || namespaces+=("--mount=$directory/namespaces/$node")
  # Both programs in front make way for the one behind them, so that its process id is that of the job.
  nsenter "${namespaces[@]}" setsid "$@" >>"$directory/log/$name.log" 2>&1 </dev/null 9>&- &
  pid=$!
  echo "$pid $(started_at "$pid")" >"$directory/pid/$name"
}

runs() {
  local pid moment
  [ -f "$directory/pid/$1" ] || return 1
  read -r pid moment <"$directory/pid/$1"
  [ -n "$moment" ] && [ "$(started_at "$pid")" = "$moment" ]
}

# stop NAME: ends it in order within 10 s, else at once
stop() {
  local pid deadline=$((SECONDS + 10))
  if runs "$1"; then
    read -r pid _ <"$directory/pid/$1"
    kill "$pid" 2>/dev/null || true
    while runs "$1" && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
    if runs "$1"; then kill -9 "$pid" 2>/dev/null || true; fi
  fi
  rm -f "$directory/pid/$1"
}
