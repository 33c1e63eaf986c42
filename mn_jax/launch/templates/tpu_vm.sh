{% import "rank.sh" as rank %}
{% set held = "/tmp/mn_jax." ~ job.name %}
#!/usr/bin/env bash
# The run {{ job.name }} on Cloud TPU VMs, through a queued resource.
# Start it on a machine that stays up: bash {{ file }}
# Started again, it resumes on the machines that exist. It deletes them when the
# run is done or cannot continue; Ctrl-C lets the run save and deletes them too.
set -uo pipefail

export CLOUDSDK_CORE_DISABLE_PROMPTS=1
export CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=true
name={{ job.name }}
where=(
  --zone={{ job.zone | sh }}
{% if job.project %}
  --project={{ job.project | sh }}
{% endif %}
)

# The script of each worker. The folder of logs is on their shared storage.
read -r -d '' train << 'WORKER' || true
set -uo pipefail
attributes=http://metadata.google.internal/computeMetadata/v1/instance/attributes
rank=$(curl -sf -H 'Metadata-Flavor: Google' "$attributes/agent-worker-number") ||
  exit 1
{% if job.storage %}
storage={{ job.storage | sh }}
mount={{ job.mount | sh }}
if ! mountpoint -q "$mount"; then
  command -v mount.nfs > /dev/null || sudo apt-get install -qy nfs-common
  sudo mkdir -p "$mount" && sudo mount -t nfs "$storage" "$mount" || exit 1
fi
{% endif %}
logs={{ job.logs | sh }}
mkdir -p -- "$logs" || exit 1
# A run whose connection broke still runs, and holds the chips.
exec {lock}> {{ held }}.lock
if ! flock -n "$lock"; then
  kill -TERM "$(< {{ held }}.pid)"
  flock -w {{ job.grace }} "$lock" || exit 1
fi
echo $$ > {{ held }}.pid
{{ rank.prepare(job) -}}
{% if job.setup %}
{{ job.setup }} || exit 1
{% endif %}
{{ rank.command(job, ["--distributed=auto"]) -}}
{{ rank.train() -}}
echo "$code" > "$logs/exit.$attempt.$rank"
exit "$code"
WORKER
# The exit codes of the workers, each code once.
read -r -d '' ends << 'WORKER' || true
sort -u -- {{ (job.logs ~ "/exit.") | sh }}"$attempt".*
rm -f -- {{ (job.logs ~ "/exit.") | sh }}*
WORKER
read -r -d '' stop << 'WORKER' || true
kill -TERM "$(< {{ held }}.pid)"
flock -w {{ job.grace }} {{ held }}.lock true
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
  queued create --node-id="$name" --accelerator-type={{ job.accelerator | sh }} \
    --runtime-version={{ job.runtime | sh }}{{ " --spot" if job.spot }}
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
    say "training; a log per worker in" {{ job.logs | sh }}
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
  if ((failures > {{ job.restarts }})); then
    leave "more than {{ job.restarts }} failures" 1
  fi
  say "ended with ${codes//$'\n'/, }; failures so far: $failures; once more"
  sleep "$((failures < 10 ? 30 * failures : 300))"
done
