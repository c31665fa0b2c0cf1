"""Runs as Submitit jobs on Slurm, on this machine, or in this process."""

from codepath.launch.submit import submit

__all__ = ["submit"]
