# What the sbatch files beside it share (they source it): it checks their variables, stages the
# data, trains and evaluates on all processes of the job, requeues the job before its time limit,
# and draws figures and tables of the results.

fail() {
    echo "error: $*" >&2
    exit 1
}

# Leave these seconds of those in #SBATCH --signal for Slurm itself.
signal_s=${SIGNAL_S:-300}
reserve_s=$((signal_s > 120 ? 60 : signal_s / 2))

needed="EXPERIMENT SCALE DATA RUNS CODEPATH"
case ${EXPERIMENT:-} in *-digits) needed=${needed/DATA /} DATA= STAGE= ;; esac # their images come along
for name in $needed; do
    [ -n "${!name:-}" ] || fail "$name is not set: set it at the top of the file, or $name=... sbatch FILE"
done
[ -z "$DATA" ] || [ -e "$DATA" ] || fail "DATA is $DATA, which is not there: name the folder that holds the data set"
read -ra codepath <<<"$CODEPATH"
command -v "${codepath[0]}" >/dev/null ||
    fail "CODEPATH is $CODEPATH, which is not there: make setup, or set CODEPATH"
[ -n "${SLURM_JOB_ID:-}" ] || fail "this is no Slurm job: submit the file with sbatch"

# The repository's source runs, in a container too, whose copy serves its packages.
export PYTHONPATH="$REPO${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1
nodes=$SLURM_JOB_NUM_NODES
# In an array the number of the first job means all of them.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
export CODEPATH_LOG
CODEPATH_LOG=$(scontrol show job "$job" | sed -n 's/^ *StdOut=//p')
# Where the processes of a run meet: the first node, by the address that Slurm itself knows it by.
# NCCL's own variables are yours to set.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR=${MASTER_ADDR:-$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')}
export MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}

if [ -n "${STAGE:-}" ]; then
    target=$STAGE/codepath-$(basename "$DATA")
    echo "copying the data to $target on every node"
    # ImageNet's betons suffice; of other data everything is copied. What is there already stays.
    srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 bash -c '
        if [ -d "$1" ] && ls "$1"/betons/imagenet-*.beton >/dev/null 2>&1; then from=$1/betons; else from=$1; fi
        mkdir -p "$2" && if [ -d "$from" ]; then cp -ru "$from/." "$2"; else cp -u "$from" "$2"; fi
    ' stage "$DATA" "$target" || fail "the data could not be copied to $target: is there room?"
    if [ -d "$DATA" ]; then DATA=$target; else DATA=$target/$(basename "$DATA"); fi
fi

stopping= timer=
on_time_limit() {
    stopping=1
    echo "the time limit is near: saving, and queueing the job again"
    scancel --signal=USR2 "$job" # to the processes of the step, not to this script
    (sleep $((signal_s - reserve_s)) && exec scontrol requeue "$job") &
    timer=$!
}
trap on_time_limit USR2

read -ra options <<<"${OPTIONS:-}"
# Since Slurm 22.05 srun does not inherit --cpus-per-task. --wait=0: the first process evaluates
# after the others have ended, whatever the cluster's WaitTime.
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 --wait=0 \
    "${codepath[@]}" run "$EXPERIMENT" --scale "$SCALE" --seed "${SEED:-0}" --seeds "${SEEDS:-1}" \
    ${DATA:+--data "$DATA"} --runs "$RUNS" ${RESULTS:+--results "$RESULTS"} "${options[@]}" &
step=$!
code=0
wait $step || code=$?
while kill -0 $step 2>/dev/null; do # a signal ends wait, not the step
    code=0
    wait $step || code=$?
done
goes_on=
case $code in
    0) goes_on=$stopping ;; # what is left to draw may take longer than what is left of the time
    # 75: told to give way and saved. 128 + 9, 12, 15: ended by SIGKILL, SIGUSR2 or SIGTERM.
    75 | 137 | 140 | 143) if "${codepath[@]}" job-goes-on --runs "$RUNS"; then goes_on=1; fi ;;
esac
if [ -n "$goes_on" ]; then
    echo "queueing the job again"
    scontrol requeue "$job"
    exit 0
fi
[ -z "$timer" ] || kill "$timer" 2>/dev/null || true
[ $code = 0 ] || fail "training ended with exit code $code, see above"

results=${RESULTS:-$RUNS/$SCALE/results}
for command in figures tables verdict; do
    "${codepath[@]}" $command --results "$results" --out "$RUNS/$SCALE" || true # it says what it lacks
done
