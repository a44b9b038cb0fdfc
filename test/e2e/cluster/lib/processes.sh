# Daemons and how they end. A process is known by its id and the moment of its start, so that nobody else's process is
# ever signalled, not even after a restart of the machine.

started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# start NAMESPACE-COMMAND NAME PROGRAM…: a daemon, run by that function (in_control_plane, or on_node with a number)
start() {
  local where=$1 name=$2 pid
  shift 2
  # shellcheck disable=SC2086 # a function and its parameter
  $where setsid "$@" >>"$directory/log/$name.log" 2>&1 </dev/null 9>&- &
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
