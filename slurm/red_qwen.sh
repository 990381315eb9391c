#!/bin/bash
# Trains a recipe on the nodes of one SLURM job. Submit it from the repository root:
#
#   sbatch --nodes=4 slurm/red_qwen.sh                                    the default recipe on 4 nodes of 8 GPUs
#   sbatch --nodes=2 slurm/red_qwen.sh recipes/red_1p5b.py steps=100 optimizer.lr=1e-6
#   sbatch --nodes=2 --gpus-per-node=0 slurm/red_qwen.sh recipes/red_tiny.py         CPU nodes, one rank each
#
# Arguments: a recipe file (*.py; recipes/red_1p5b.py if none is given), then overrides a.b=c of its fields. Any option below
# can be given to sbatch instead. Ranks per node: one per GPU, one on a node without; or, where an override names
# parallel.ranks, that number shared out equally over the nodes. The log is red_qwen-JOBID.log in the folder of submission.
#SBATCH --job-name=red_qwen
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
set -euo pipefail

: "${SLURM_JOB_ID:?is not set: submit this script with sbatch}"
# SLURM runs a copy of this file, so its own place says nothing; the job starts in the folder of submission (or --chdir).
if [ -d .venv ]; then export PATH="$PWD/.venv/bin:$PATH"; fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # as torchrun sets it for more than one rank per node

recipe=recipes/red_1p5b.py
if [[ ${1-} == *.py ]]; then recipe=$1; shift; fi
overrides=("$@")

ranks=
for override in "$@"; do
  if [[ $override == parallel.ranks=* ]]; then ranks=${override#*=}; fi
done
if [ -z "$ranks" ]; then
  # What was asked for, "8" or "h100:8". An exclusive job owns all GPUs of its nodes, so SLURM_GPUS_ON_NODE may be more; it
  # is all there is where GPUs were asked for in another way (--gres).
  gpus=${SLURM_GPUS_PER_NODE:-${SLURM_GPUS_ON_NODE:-0}}
  gpus=${gpus##*:}
  ranks=$((SLURM_NNODES * (gpus > 0 ? gpus : 1)))
  overrides+=("parallel.ranks=$ranks")
fi

# A wrong recipe, override or layout ends the job here, in seconds, with one line that says why.
python -m red_mcore.run "$recipe" "${overrides[@]}" --dry-run
if ((ranks % SLURM_NNODES)); then
  message="parallel.ranks=$ranks cannot be shared out equally over $SLURM_NNODES nodes: use a multiple of $SLURM_NNODES"
  echo "$message" >&2
  exit 2
fi

# One torchrun per node. The batch script runs on the first node, which holds rank 0 and the rendezvous; its address is the
# one that SLURM itself reaches it by. The tasks must not be bound to one core each: a task is a whole node's launcher.
# They meet under a name that nobody knows who does not have the job's environment.
PET_RDZV_ID=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export PET_RDZV_ID
address=$(scontrol --oneliner show node "$SLURMD_NODENAME" | sed -E 's/.* NodeAddr=([^ ]+).*/\1/')
port=$((20000 + SLURM_JOB_ID % 10000))
srun --export=ALL --kill-on-bad-exit=1 --cpu-bind=none \
  bash -c 'exec torchrun --node-rank="$SLURM_NODEID" "$@"' torchrun \
  --nnodes="$SLURM_NNODES" --nproc-per-node=$((ranks / SLURM_NNODES)) \
  --rdzv-backend=static --rdzv-endpoint="$address:$port" \
  -m red_mcore.run "$recipe" "${overrides[@]}"
