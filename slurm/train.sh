# What the sbatch files beside it share (they source it): it checks their variables, stages the
# data, trains and evaluates on all processes of the job, requeues the job before its time limit,
# and draws figures and tables of the results.

fail() {
    echo "error: $*" >&2
    exit 1
}

# Leave this many seconds of those in #SBATCH --signal for Slurm itself.
reserve_s=60

for name in EXPERIMENT SCALE DATA RUNS CODEPATH; do
    [ -n "${!name:-}" ] || fail "$name is not set: set it at the top of the file, or $name=... sbatch FILE"
done
[ -e "$DATA" ] || fail "DATA is $DATA, which is not there: name the folder that holds the data set"
read -ra codepath <<<"$CODEPATH"
command -v "${codepath[0]}" >/dev/null ||
    fail "CODEPATH is $CODEPATH, which is not there: make setup, or set CODEPATH"
[ -n "${SLURM_JOB_ID:-}" ] || fail "this is no Slurm job: submit the file with sbatch"

nodes=$SLURM_JOB_NUM_NODES
export CODEPATH_LOG
CODEPATH_LOG=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *StdOut=//p')
# Where the processes of a run meet. NCCL's own variables are yours to set.
export MASTER_ADDR=${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}
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

stopping=
on_time_limit() {
    stopping=1
    echo "the time limit is near: saving, and queueing the job again"
    scancel --signal=USR2 "$SLURM_JOB_ID" # to the processes of the step, not to this script
    (sleep $((${SIGNAL_S:-300} - reserve_s)) && scontrol requeue "$SLURM_JOB_ID") &
}
trap on_time_limit USR2

read -ra options <<<"${OPTIONS:-}"
# Since Slurm 22.05 srun does not inherit --cpus-per-task.
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 \
    "${codepath[@]}" run "$EXPERIMENT" --scale "$SCALE" --seed "${SEED:-0}" --seeds "${SEEDS:-1}" \
    --data "$DATA" --runs "$RUNS" ${RESULTS:+--results "$RESULTS"} "${options[@]}" &
step=$!
code=0
wait $step || code=$?
while kill -0 $step 2>/dev/null; do # a signal ends wait, not the step
    code=0
    wait $step || code=$?
done
if [ -n "$stopping" ] || [ $code = 75 ]; then # 75: it was told to give way and can go on
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
[ $code = 0 ] || fail "training ended with exit code $code, see above"

results=${RESULTS:-$RUNS/$SCALE/results}
for command in figures tables verdict; do
    "${codepath[@]}" $command --results "$results" --out "$RUNS/$SCALE" || true # it says what it lacks
done
