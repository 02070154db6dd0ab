#!/usr/bin/env bash
# Trains on one machine, a process a GPU, or in two processes where there is none. The arguments are
# those of `kdanalysis train`; the batch size is that of all processes together:
#   bash scripts/train_one_node.sh --data images/ --teacher resnet32x4 --student resnet8x4 \
#     --loss kd --loss gdkd:k=5 --batch-size 256 --out results
# PROCESSES=4 says how many; PYTHON=.venv/bin/python where kdanalysis is installed.
# An interrupted training goes on with the same arguments and --resume.
set -euo pipefail
python=${PYTHON:-python}
read -r gpus cores < <("$python" -c 'import os, torch; print(torch.cuda.device_count(), os.cpu_count())')
processes=${PROCESSES:-$((gpus > 0 ? gpus : 2))}
threads=$((cores / processes))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))} # torchrun would take 1
exec "$python" -m torch.distributed.run --standalone --nproc-per-node "$processes" \
  -m kdanalysis train "$@"
