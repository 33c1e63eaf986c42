#!/usr/bin/env bash
# The run imagenet-v2 on Cloud TPU VMs, through a queued resource.
# Start it on a machine that stays up: bash imagenet-v2.tpu_vm.sh
# Started again, it resumes on the machines that exist. It deletes them when the
# run is done or cannot continue; Ctrl-C lets the run save and deletes them too.
set -uo pipefail

export CLOUDSDK_CORE_DISABLE_PROMPTS=1
export CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=true
name=imagenet-v2
where=(
  --zone=us-west4-a
  --project=my-project
)

# The script of each worker. The folder of logs is on their shared storage.
read -r -d '' train << 'WORKER' || true
set -uo pipefail
attributes=http://metadata.google.internal/computeMetadata/v1/instance/attributes
rank=$(curl -sf -H 'Metadata-Flavor: Google' "$attributes/agent-worker-number") ||
  exit 1
storage=10.0.0.2:/share
mount=/mnt/runs
if ! mountpoint -q "$mount"; then
  command -v mount.nfs > /dev/null || sudo apt-get install -qy nfs-common
  sudo mkdir -p "$mount" && sudo mount -t nfs "$storage" "$mount" || exit 1
fi
logs=/mnt/runs/imagenet_v2/launch
mkdir -p -- "$logs" || exit 1
# A run whose connection broke still runs, and holds the chips.
exec {lock}> /tmp/mn_jax.imagenet-v2.lock
if ! flock -n "$lock"; then
  kill -TERM "$(< /tmp/mn_jax.imagenet-v2.pid)"
  flock -w 300 "$lock" || exit 1
fi
echo $$ > /tmp/mn_jax.imagenet-v2.pid
export PYTHONUNBUFFERED=1
export MN_JAX_CACHE=/mnt/runs/cache
cd -- /mnt/runs/mn_jax || exit 1
command=(
  .venv/bin/python
  -m
  mn_jax.main
  --config=configs/imagenet_v2.py
  --workdir=/mnt/runs/imagenet_v2
  --distributed=auto
)
mkdir -p -- "$logs" || exit 1
exec {output}> >(exec tee -ia -- "$logs/rank$rank.log")
tee=$!
child=
again=1
# Without a trap, bash would end and not pass the signal on.
trap 'again=1; [[ -z $child ]] || kill -TERM "$child"' TERM
"${command[@]}" >&"$output" 2>&1 < /dev/null &
child=$!
while ((again)); do
  again=0
  code=0
  wait "$child" || code=$?
done
exec {output}>&-
wait "$tee"
echo "$code" > "$logs/exit.$attempt.$rank"
exit "$code"
WORKER
# The exit codes of the workers, each code once.
read -r -d '' ends << 'WORKER' || true
sort -u -- /mnt/runs/imagenet_v2/launch/exit."$attempt".*
rm -f -- /mnt/runs/imagenet_v2/launch/exit.*
WORKER
read -r -d '' stop << 'WORKER' || true
kill -TERM "$(< /tmp/mn_jax.imagenet-v2.pid)"
flock -w 300 /tmp/mn_jax.imagenet-v2.lock true
WORKER

say() { echo "$(date -u +%FT%TZ) $name: $*"; }
queued() {
  gcloud compute tpus queued-resources "$1" "$name" "${where[@]}" "${@:2}"
}
on_workers() {
  gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker="$1" \
    --command="attempt=$attempt"$'\n'"$2"
}
node() {
  gcloud compute tpus tpu-vm describe "$name" "${where[@]}" \
    --format='value(state)' 2> /dev/null || echo MISSING
}
create() {
  queued create --node-id="$name" --accelerator-type=v5litepod-16 \
    --runtime-version=v2-alpha-tpuv5-lite --spot
}
remove() { queued delete --force --quiet || true; }
# Waits until all workers are ready. FAILED and SUSPENDED, as after spot machines
# were preempted, are final: such a resource is deleted and created again.
machines() {
  local state last=
  while :; do
    state=$(queued describe --format='value(state.state)' 2> /dev/null) ||
      state=MISSING
    [[ $state == "$last" ]] || say "$state"
    last=$state
    case $state in
      ACTIVE)
        case $(node) in
          READY) return 0 ;;
          PREEMPTED | TERMINATED | MISSING) remove ;;
        esac
        ;;
      FAILED | SUSPENDED) remove ;;
      MISSING) create || return 1 ;;
    esac
    sleep 30
  done
}
leave() {
  say "$1; the machines are deleted"
  remove
  exit "$2"
}
trap 'on_workers all "$stop"; leave "stopped" 130' INT TERM

attempt=0
failures=0
while :; do
  attempt=$(date +%s)
  lost=0
  codes=
  if machines; then
    say "training; a log per worker in" /mnt/runs/imagenet_v2/launch
    # In the background, so that signals are handled at once.
    on_workers all "$train" &
    wait "$!"
    codes=$(on_workers 0 "$ends" 2> /dev/null) || codes=
    [[ $codes || $(node) == READY ]] || lost=1
  fi
  case " ${codes//$'\n'/ } " in
    " 0 ") leave "done" 0 ;;
    *" 2 "*) leave "wrong input" 2 ;;
    *" 130 "*) leave "stopped" 130 ;;
    " 143 ") ;;
    *) failures=$((failures + 1 - lost)) ;;
  esac
  if ((failures > 10)); then
    leave "more than 10 failures" 1
  fi
  say "ended with ${codes//$'\n'/, }; failures so far: $failures; once more"
  sleep "$((failures < 10 ? 30 * failures : 300))"
done
