#!/bin/bash

# Parameters
#SBATCH --account=me
#SBATCH --cpus-per-task=1
#SBATCH --job-name=codepath-data-digits
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=JOBS/%j_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=60
#SBATCH --wckey=submitit

# setup
export PYTHONPATH=SOURCE
export PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output JOBS/%j_%t_log.out --cpus-per-task=1 --kill-on-bad-exit=1 --wait=0 PYTHON -u -m submitit.core._submit JOBS


# teardown
code=$?
job="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"
case $code in 137 | 140 | 143)
  PYTHON -m codepath.cli job-goes-on --runs RUNS && scontrol requeue "${job:-$SLURM_JOB_ID}" ;;
esac
exit $code