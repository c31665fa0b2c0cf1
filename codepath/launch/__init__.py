"""Runs as jobs on Slurm, on this machine, or in this process; what became of them.

cluster.py   resource profiles
plan.py      which runs a submission holds, and with which resources
snapshot.py  the copy of the source that jobs run
submit.py    a plan as Submitit jobs
task.py      what a job does
recovery.py  whether a stopped job goes on
slurm.py     what Slurm says of jobs
status.py    what runs are doing
control.py   cancelling and submitting again
"""
