#!/usr/bin/env bash
# The run imagenet-v2 as a SLURM job, which requeues itself until it is done.
# Submit it from its own folder: sbatch imagenet-v2.sh
#
# Save and requeue: scancel --batch --signal=USR1 JOBID
# Save and end:     scancel --batch --signal=USR2 JOBID
#
#SBATCH --job-name=imagenet-v2
#SBATCH --output=imagenet-v2.log
#SBATCH --open-mode=append
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=a100:4
#SBATCH --cpus-per-task=8
#SBATCH --time=1440
#SBATCH --partition=gpu
#SBATCH --account=vision
#SBATCH --requeue
# To this script alone, so many seconds before the time limit.
#SBATCH --signal=B:USR1@300
set -uo pipefail

export PYTHONUNBUFFERED=1
export MN_JAX_CACHE=/shared/mn_jax_cache
cd -- /shared/mn_jax || exit 1
command=(
  .venv/bin/python
  -m
  mn_jax.main
  --config=configs/imagenet_v2.py
  train.batch_size=1024
  --workdir=/shared/runs/imagenet_v2
  --distributed=auto
)

logs=/shared/runs/imagenet_v2/launch
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

say() { echo "$(date -u +%FT%TZ) imagenet-v2: $*"; }
say "attempt $((${SLURM_RESTART_COUNT:-0} + 1)) on $SLURM_JOB_NODELIST"
# When a task ends early, the others have so many seconds to save.
srun --kill-on-bad-exit=0 --wait=300 --open-mode=append \
  --cpus-per-task=8 \
  --output=/shared/runs/imagenet_v2/launch/rank%t.log \
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
  if (($(wc -l < "$failures") > 10)); then
    say "more than 10 failures"
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
