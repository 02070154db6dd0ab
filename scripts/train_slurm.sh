#!/usr/bin/env bash
#SBATCH --job-name=kdanalysis
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
# Trains on several machines of a Slurm cluster: srun starts one torchrun a machine, and that one
# process a GPU. Data and --out must lie on a disk that all machines share, and kdanalysis in an
# environment that the job inherits:
#   sbatch scripts/train_slurm.sh --data /shared/images --teacher resnet32x4 --student resnet8x4 \
#     --loss kd --loss gdkd:k=5 --batch-size 512 --out /shared/results
# Without GPUs PROCESSES says how many processes a machine gets. A job that ran out of time goes on
# when it is submitted again with --resume.
set -euo pipefail
python=${PYTHON:-python}
processes=${PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1) # where the machines meet
port=$((20000 + SLURM_JOB_ID % 20000))                             # jobs on one machine differ
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((${SLURM_CPUS_PER_TASK:-1} / processes))}
export OMP_NUM_THREADS=$((OMP_NUM_THREADS > 0 ? OMP_NUM_THREADS : 1)) # torchrun would take 1
srun "$python" -m torch.distributed.run --nnodes "$SLURM_NNODES" --nproc-per-node "$processes" \
  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:$port" \
  -m kdanalysis train "$@"
