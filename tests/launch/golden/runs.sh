#!/bin/bash

# Parameters
#SBATCH --account=me
#SBATCH --array=0-3%3
#SBATCH --constraint=h100
#SBATCH --cpus-per-task=6
#SBATCH --dependency=afterok:101
#SBATCH --gpus-per-node=4
#SBATCH --job-name=codepath-wide
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=100G
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=JOBS/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=1440
#SBATCH --wckey=submitit

# setup
module load cuda
export NCCL_SOCKET_IFNAME=ib0
export MASTER_ADDR=${MASTER_ADDR:-$(scontrol show node "$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')}
export PYTHONPATH=SOURCE
export PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output JOBS/%A_%a_%t_log.out --cpus-per-task=6 --kill-on-bad-exit=1 --wait=0 PYTHON -u -m submitit.core._submit JOBS


# teardown
code=$?
job="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"
case $code in 137 | 140 | 143)
  PYTHON -m codepath.cli job-goes-on --runs RUNS && scontrol requeue "${job:-$SLURM_JOB_ID}" ;;
esac
exit $code