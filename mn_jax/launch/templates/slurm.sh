{% import "rank.sh" as rank %}
#!/usr/bin/env bash
# The run {{ job.name }} as a SLURM job, which requeues itself until it is done.
# Submit it from its own folder: sbatch {{ file }}
#
# Save and requeue: scancel --batch --signal=USR1 JOBID
# Save and end:     scancel --batch --signal=USR2 JOBID
#
#SBATCH --job-name={{ job.name }}
#SBATCH --output={{ job.name }}.log
#SBATCH --open-mode=append
#SBATCH --nodes={{ job.nodes }}
#SBATCH --ntasks-per-node={{ job.tasks_per_node }}
{% if job.devices_per_node %}
#SBATCH --gpus-per-node={{ gpus }}
{% endif %}
{% if job.cpus_per_task %}
#SBATCH --cpus-per-task={{ job.cpus_per_task }}
{% endif %}
{% if minutes %}
#SBATCH --time={{ minutes }}
{% endif %}
{% if job.queue %}
#SBATCH --partition={{ job.queue }}
{% endif %}
{% if job.project %}
#SBATCH --account={{ job.project }}
{% endif %}
#SBATCH --requeue
# To this script alone, so many seconds before the time limit.
#SBATCH --signal=B:USR1@{{ job.grace }}
set -uo pipefail

{{ rank.prepare(job) -}}
{% if devices %}
# Under SLURM, JAX gives each process a single device by default.
export JAX_LOCAL_DEVICE_IDS={{ devices }}
{% endif %}
{{ rank.command(job, ["--distributed=" ~ distributed]) }}
logs={{ job.logs | sh }}
failures=$logs/failures.$SLURM_JOB_ID
wrong=$logs/wrong_input.$SLURM_JOB_ID
mkdir -p -- "$logs" || exit 1
rm -f -- "$wrong"

# srun returns the highest exit code of all tasks, which hides a 2. SIGTERM
# reaches this shell and the trainer; the shell survives it.
read -r -d '' task << 'TASK' || true
trap : TERM
"$@"
code=$?
if ((code == 2)); then : > "$0"; fi
exit "$code"
TASK

requeue=1
again=1
# On SIGTERM srun kills its tasks, so they are signalled by scancel, which does
# not signal this script unless it has --batch or --full.
trap 'again=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
trap 'again=1; requeue=0; scancel --signal=TERM "$SLURM_JOB_ID"' USR2
trap again=1 TERM

say() { echo "$(date -u +%FT%TZ) {{ job.name }}: $*"; }
say "attempt $((${SLURM_RESTART_COUNT:-0} + 1)) on $SLURM_JOB_NODELIST"
# When a task ends early, the others have so many seconds to save.
srun --kill-on-bad-exit=0 --wait={{ job.grace }} --open-mode=append \
{% if job.cpus_per_task %}
  --cpus-per-task={{ job.cpus_per_task }} \
{% endif %}
  --output={{ output | sh }} \
  bash -c "$task" "$wrong" "${command[@]}" &
step=$!
while ((again)); do
  again=0
  code=0
  wait "$step" || code=$?
done
if [[ -e $wrong ]]; then code=2; fi
say "ended with $code"

# After success, wrong input or Ctrl-C, another attempt would change nothing.
case $code in 0 | 2 | 130) exit "$code" ;; esac
# 143, stopped after saving, is not a failure.
if ((code != 143)); then
  echo "$code" >> "$failures"
  if (($(wc -l < "$failures") > {{ job.restarts }})); then
    say "more than {{ job.restarts }} failures"
    exit "$code"
  fi
fi
# Not if a user has cancelled the job, or SLURM itself requeues it.
if ((requeue)) &&
  [[ $(squeue --noheader --format=%T --jobs="$SLURM_JOB_ID") == RUNNING ]]; then
  say "requeued"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
