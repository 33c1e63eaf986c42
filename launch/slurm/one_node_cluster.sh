#!/usr/bin/env bash
# A SLURM cluster of one node, on loopback, for tests of this folder's scripts.
#
#   sudo launch/slurm/one_node_cluster.sh start DIR [CPUS]
#   export SLURM_CONF=DIR/slurm.conf
#   sudo launch/slurm/one_node_cluster.sh stop DIR
#
# It needs Debian's packages slurm-wlm and munge, and touches nothing outside of
# DIR, which `start` makes and `stop` deletes: neither /etc/slurm nor services.
# munged wants every folder above DIR open to all users (mode 755).
set -euo pipefail

usage() {
  echo "usage: $0 start DIR [CPUS] | stop DIR" >&2
  exit 2
}
[[ $# -ge 2 ]] || usage
folder=$(realpath -m -- "$2")
export SLURM_CONF=$folder/slurm.conf

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 20000))
    if ! (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
      echo "$port"
      return
    fi
  done
}

configure() {
  local cpus=$1
  cat > "$SLURM_CONF" << CONF
ClusterName=one_node
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
# Each daemon and client listens on loopback alone.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that was requeued waits until its credential has expired, by default
# two minutes.
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# Control groups are not for every container.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

start() {
  local cpus=$1 program
  if ((EUID != 0)); then
    echo "$0: got user $(id -un); valid: root, as whom slurmd starts jobs" >&2
    exit 2
  fi
  for program in munged slurmctld slurmd; do
    if ! command -v "$program" > /dev/null; then
      echo "$0: $program is missing; valid: after installing slurm-wlm and" \
        "munge" >&2
      exit 2
    fi
  done
  if [[ -e $folder ]]; then
    echo "$0: got '$folder', which exists; valid: a new folder" >&2
    exit 2
  fi
  mkdir -p -- "$folder/state" "$folder/spool"
  configure "$cpus"
  (umask 077 && head -c 128 /dev/urandom > "$folder/munge.key")
  if ! munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
    --seed-file="$folder/munge.seed"; then
    stop
    exit 1
  fi
  slurmctld -c
  slurmd -c -N localhost
  for ((tries = 0; tries < 300; tries++)); do
    if [[ $(sinfo --noheader --format=%T 2> /dev/null) == idle ]]; then
      echo "export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.1
  done
  echo "$0: no node after 30 s; see slurmctld.log and slurmd.log:" >&2
  tail -n 5 "$folder/slurmctld.log" "$folder/slurmd.log" >&2 || true
  stop
  exit 1
}

stop() {
  local daemon pid
  # What still runs would be left to itself.
  scancel --user=root --full --signal=KILL 2> /dev/null || true
  scancel --user=root 2> /dev/null || true
  for ((tries = 0; tries < 100; tries++)); do
    [[ $(squeue --noheader 2> /dev/null) ]] || break
    sleep 0.1
  done
  for daemon in slurmctld slurmd munged; do
    [[ -s $folder/$daemon.pid ]] || continue
    pid=$(< "$folder/$daemon.pid")
    kill -TERM "$pid" 2> /dev/null || continue
    for ((tries = 0; tries < 100; tries++)); do
      kill -0 "$pid" 2> /dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2> /dev/null || true
  done
  rm -rf -- "$folder"
}

case $1 in
  start) start "${3:-$(nproc)}" ;;
  stop)
    # Never delete what `start` has not made.
    if [[ ! -e $SLURM_CONF ]]; then
      echo "$0: got '$folder', where no cluster is; valid: that of start" >&2
      exit 2
    fi
    stop
    ;;
  *) usage ;;
esac
