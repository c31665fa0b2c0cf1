"""Submitting runs as jobs on Slurm, on this machine or in this process, and managing them.

cluster.py   resource profiles
plan.py      which runs a submission holds, and with which resources
snapshot.py  the copy of the source that jobs run
submit.py    a plan as Submitit jobs
task.py      what a job does
turns.py     one submission in RUNS at a time
undo.py      taking a submission back where no job of it begins
requeue.py   whether a stopped job goes on
control.py   choosing runs by name, cancelling them, and submitting them again
"""
