"""What a submission holds: targets, profiles, groups, what is left out, and the dry run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codepath.core.errors import UserError
from codepath.core.files import make_directory
from codepath.experiments import all_experiments, find_experiment
from codepath.launch import cluster
from codepath.launch.cluster import MEETING, Profile, check_profiles, load_profile, profile_name
from codepath.launch.plan import (
    Destination,
    find_targets,
    make_plan,
    run_title,
)
from codepath.run.config import RunConfig
from codepath.run.directory import claim, mark_done
from codepath.run.events import note
from tests.cli.test_cli import assert_one_clear_line, call


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "runs")


@pytest.fixture
def digits() -> list[RunConfig]:
    """Coded and baseline of three seeds."""
    return [run for seed in range(3) for run in find_experiment("table2-digits").runs("demo", seed)]


def write_profiles(path: Path, text: str) -> Path:
    path.write_text(text, errors="surrogateescape")
    return path


def test_items_are_named_alike() -> None:
    """As `find_targets` reads them: the paper has tables 1 to 4 and figures 2 to 8."""
    for one in all_experiments():
        for item in (*one.items, *one.also_measured):
            assert re.fullmatch(r"table[1-4]|fig[2-8][a-c]?", item), (one.name, item)
        assert not set(one.items) & set(one.also_measured)
    table2 = find_experiment("table2-cifar10")
    assert table2.items == ("table2",)
    assert table2.also_measured == ("fig2a", "fig2b", "fig3", "fig4", "fig7")


def test_targets_are_experiments_tables_and_figures() -> None:
    everything = [e.name for e in all_experiments()]
    assert [e.name for e in find_targets(["all"])] == everything
    of_table = [e.name for e in find_targets(["Table 2"])]
    assert {"table2-cifar10", "table2-cifar100", "table2-digits", "table2-imagenet"} <= set(
        of_table
    )
    assert find_targets(["table2", "table2-digits"]) == find_targets(["table2"])
    assert find_targets(["fig2a"])
    with pytest.raises(UserError, match="did you mean table2-digits"):
        find_targets(["table2-digts"])


def test_shipped_profiles_are_valid_and_cover_every_run() -> None:
    check_profiles()
    for experiment in all_experiments():
        for scale in experiment.scales:
            for config in experiment.runs(scale, 0):
                assert load_profile(profile_name(config)).minutes >= 60
    imagenet = find_experiment("table2-imagenet").runs("paper", 0)[0]
    assert load_profile(profile_name(imagenet)).gpus == 8
    assert load_profile(profile_name(None)).gpus == 0


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("90", 90), ("90:00", 90), ("2:30:00", 150), ("1-12", 2160), ("2-00:30:00", 2910)],
)
def test_times_are_read_as_sbatch_reads_them(time: str, minutes: int) -> None:
    assert Profile(name="p", time=time).minutes == minutes


def test_a_profile_becomes_sbatch_parameters(tmp_path: Path) -> None:
    path = write_profiles(
        tmp_path / "profiles.toml",
        '[big]\nnodes = 2\ngpus = 4\ncpus = 6\nmemory = 100\ntime = "1-00:00:00"\naccount = "a"\n'
        'constraint = "h100"\nparallel = 3\nsetup = ["module load cuda"]\n'
        'environment = { NCCL_DEBUG = "INFO now" }\n',
    )
    profile = load_profile("big", path)
    parameters = profile.slurm_parameters()
    assert (profile.parallel, parameters["time"], parameters["mem"]) == (3, 1440, "100G")
    assert (parameters["nodes"], parameters["ntasks_per_node"]) == (2, 4)
    assert parameters["gpus_per_node"] == 4
    assert "--cpus-per-task=6" in parameters["srun_args"]
    assert parameters["setup"] == ["module load cuda", "export NCCL_DEBUG='INFO now'", MEETING]
    assert (parameters["account"], parameters["constraint"]) == ("a", "h100")
    assert "partition" not in parameters
    assert "8 processes of 6 CPUs, 4 GPUs a node" in profile.words()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mine]\ncpu = 3\n", r"key of profile 'mine'.*did you mean cpus"),
        ('[mine]\ncpus = "3"\n', r"cpus is '3', must be a whole number"),
        ("[mine]\ngpus = true\n", r"gpus is True, must be a whole number"),
        ("[mine]\nnodes = 0\n", "nodes is 0, least is 1"),
        ('[mine]\ntime = "3:00"\n', "at least 10 minutes"),
        ('[mine]\ntime = "soon"\n', "days-hours:minutes:seconds"),
        ('[mine]\nmemory = "lots"\n', "write it as 64G"),
        ('[mine]\nsetup = "module load cuda"\n', "must be a list of shell lines"),
        ('[use]\ndemo = "minee"\n[mine]\n', r"\[use\].*demo: 'minee'.*did you mean mine"),
        ("[mine\n", "cannot read"),
        ("mine = 3\n", "'mine' is no section"),
        ('["a\\nb"]\n', "not of one line"),
        ("[use]\ndemo = [1]\n", r"demo is \[1\], must be a section's name"),
        ("use = 3\n", "'use' is no section"),
        (f"[mine]\ncpus = {'[' * 50_000}\n", "nested too deeply"),
        (f"[mine]\ncpus = {'9' * 5000}\n", "cannot read"),
        (f"[mine]\ncpus = {2**64}\n", "more than 64 bits"),
        (f'[mine]\ntime = "{"9" * 5000}"\n', "days-hours:minutes:seconds"),
        ('[mine]\npartition = "a\\n#SBATCH --uid=0"\n', "write it in one line"),
        ('[mine]\nenvironment = { "A B" = "1" }\n', "must be a table"),
        ('[mine]\nenvironment = { A = "\\u0000" }\n', "must be a table"),
        ("[mine]\n# \udcff\n", "cannot read"),
    ],
)
def test_mistakes_in_profiles(text: str, message: str, tmp_path: Path) -> None:
    path = write_profiles(tmp_path / "profiles.toml", text)
    with pytest.raises(UserError, match=message):
        check_profiles(path)


def test_unknown_profile_and_missing_use(tmp_path: Path, digits: list[RunConfig]) -> None:
    with pytest.raises(UserError, match="did you mean gpu"):
        load_profile("gpuu")
    path = write_profiles(tmp_path / "profiles.toml", "[mine]\n")
    with pytest.raises(UserError, match=r"no line for demo.*--profile"):
        profile_name(digits[0], path)


def test_groups_are_of_one_profile_and_data_set(
    destination: Destination, digits: list[RunConfig]
) -> None:
    cifar = find_experiment("table2-cifar10").runs("paper", 0)
    plan = make_plan([*digits, *cifar, *digits], destination)
    assert [(g.profile.name, len(g.configs)) for g in plan.groups] == [("cpu", 6), ("gpu", 2)]
    assert [data.source for data in plan.data] == ["cifar10", "digits"]
    assert plan.scales == ["demo", "paper"]
    short = find_experiment("table2-cifar10").runs("short", 0)
    assert {g.profile.name for g in make_plan(short, destination).groups} == {"gpu"}
    one = make_plan([*digits, *cifar], destination, profile="node", parallel=5)
    assert {(g.profile.name, g.profile.parallel) for g in one.groups} == {("node", 5)}
    with pytest.raises(UserError, match="--parallel is 0"):
        make_plan(digits, destination, parallel=0)


def test_done_and_active_runs_are_left_out(
    destination: Destination, digits: list[RunConfig]
) -> None:
    done, waiting, failed, *_ = digits
    for config in (done, waiting, failed):
        claim(config, make_directory(destination.run_dir(config)))
    mark_done(destination.run_dir(done), done)
    note(destination.run_dir(waiting), "submitted")
    note(destination.run_dir(failed), "submitted")
    note(destination.run_dir(failed), "failed", error=["broken"])
    from codepath.run.events import write_order

    write_order(destination.run_dir(waiting), {"cluster": "slurm", "job": "7_1"})
    plan = make_plan(digits, destination)
    assert [config for config, _ in plan.left_out] == [done, waiting]
    assert len(plan.configs) == 4
    assert len(plan.wanted) == 6
    lines = list(plan.lines(destination, "slurm"))
    assert lines[:2] == [
        "left out, done already: table2-digits demo coded-s0",
        "left out, waiting already: table2-digits demo baseline-s0",
    ]


def test_two_runs_for_one_directory(destination: Destination, digits: list[RunConfig]) -> None:
    import dataclasses

    other = dataclasses.replace(digits[0], train=dataclasses.replace(digits[0].train, epochs=1))
    with pytest.raises(UserError, match="two different runs"):
        make_plan([digits[0], other], destination)


@pytest.mark.parametrize("name", [e.name for e in all_experiments()])
def test_the_dry_run_of_every_experiment(name: str, tmp_path: Path) -> None:
    """Every run of every scale, seed and model is there, once, with its directory; nothing made."""
    experiment = find_experiment(name)
    for scale in experiment.scales:
        planned = [run for seed in range(3) for run in experiment.runs(scale, seed)]
        plan = make_plan(planned, Destination(tmp_path))
        lines = list(plan.lines(Destination(tmp_path), "slurm"))
        for run in planned:
            entry = f"  {run.experiment} {scale} {run.name}  {Destination(tmp_path).run_dir(run)}"
            assert lines.count(entry) == 1
            assert any(line.startswith(f"data: {run.data.source} ") for line in lines)
            profile = load_profile(profile_name(run))
            assert any(f"profile {profile.name}:" in line for line in lines)
            batch = f"batch {run.train.batch_size:,} over all processes"
            assert f"  each {profile.words()}; {batch}" in lines
        if planned:
            assert lines[-1].startswith(f"collecting: rows to {tmp_path}/{scale}/results")
        else:
            assert lines == ["nothing to submit"]
    assert not list(tmp_path.iterdir())


def test_the_dry_run_as_a_command(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = call("submit", "table2-digits", "--dry-run", "--runs", str(runs), "--parallel", "4")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "training and evaluation: array of 6 jobs, 4 at a time, profile cpu:" in lines
    assert len([line for line in lines if line.startswith("  table2-digits demo ")]) == 6
    assert not runs.exists()
    misspelt = ("--profile", "gpuu", "--runs", str(runs))
    assert_one_clear_line(
        call("submit", "table2-digits", "--dry-run", *misspelt), "did you mean gpu"
    )
    assert_one_clear_line(call("submit", "tabel2", "--dry-run"), "did you mean table2")
    absent = ("--data", str(tmp_path / "absent"), "--runs", str(runs))
    assert_one_clear_line(
        call("submit", "table2-digits", "--dry-run", *absent), "absent does not exist here"
    )
    shown = call("submit", "table2-cifar10", "--dry-run", "--data", str(tmp_path)).stdout
    assert f"data: cifar10 in {tmp_path} (" in shown
    left = call("submit", "fig2a", "--scale", "demo", "--dry-run", "--runs", str(runs)).stdout
    assert "left out, has no demo scale: fig2a-cifar10" in left
    assert_one_clear_line(
        call("submit", "fig2a-cifar10", "--scale", "demo", "--dry-run"), "has no scale 'demo'"
    )
    smoke = call("submit", "table2-cifar10", "--scale", "demo", "--dry-run", "--runs", str(runs))
    assert smoke.stdout.count("  table2-cifar10 demo ") == 6


def test_the_small_jobs_take_the_account_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: list[RunConfig]
) -> None:
    text = (
        '[use]\ndemo = "mine"\nservice = "small"\n[mine]\naccount = "a"\npartition = "p"\n[small]\n'
    )
    for small, account in (("", "a"), ('account = "b"\n', "b")):
        path = write_profiles(tmp_path / "profiles.toml", text + small)
        monkeypatch.setattr(cluster, "PROFILES", path)
        service = make_plan(digits, Destination(tmp_path / "runs")).service
        assert (service.account, service.partition) == (account, "")


def test_the_dry_run_of_everything(tmp_path: Path) -> None:
    """Every run of every table and figure with its profile; what trains nothing, its command."""
    done = call("submit", "all", "--dry-run", "--seeds", "2", "--runs", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    profiles: dict[str, list[str]] = {}
    profile = ""
    for line in done.stdout.splitlines():
        found = re.fullmatch(r"training and evaluation: .*, profile (\w+):", line)
        profile = found[1] if found else profile
        run = re.fullmatch(r"  (\S+ \w+ \S+-s\d)  /.+", line)
        if run:
            profiles.setdefault(run[1], []).append(profile)
    for experiment in all_experiments():
        if experiment.benchmarks:
            assert f"trains nothing: {experiment.name}; codepath bench " in done.stdout
        for seed in (0, 1):
            for config in experiment.runs(experiment.scales[-1], seed):
                assert profiles[run_title(config)] == [profile_name(config)]
    assert not (tmp_path / "runs").exists()
