"""Many trainings at a time: the same records as one after the other, whatever dies on the way."""

import os
import signal
import sys
from argparse import Namespace
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import SMALL

from recbole_ec4srec.errors import ConfigError, RunError
from recbole_ec4srec.experiments import engines, records, runner, warmup
from recbole_ec4srec.experiments.engines import Died, Processes
from recbole_ec4srec.experiments.on_ray import train_on_ray
from recbole_ec4srec.experiments.progress import Epoch
from recbole_ec4srec.experiments.records import Run, settings_of
from recbole_ec4srec.experiments.runner import check_engine, record_missing
from recbole_ec4srec.experiments.training import train


@pytest.fixture
def make_run(data_path):
    """``make_run(model, seed, **settings)``: a run on ``tiny``."""

    def make(model="CL4SRec", seed=1, **settings):
        own = {**SMALL, "epochs": 3, "num_updates": 0, **settings}
        if model in ("CL4SRec", "DuoRec"):
            del own["num_updates"]
        return Run(model, model, "tiny", seed, settings_of(model, "tiny", own, {"data_path": str(data_path)}))

    return make


def options(tmp_path, name="a", **given):
    ours = {"engine": "local", "jobs": 1, "address": None, "cpus_per_run": 1, "gpus_per_run": 0, **given}
    return Namespace(output=tmp_path / f"results-{name}", work=tmp_path / f"work-{name}", **ours)


def recorded(args, runs):
    found = [records.read(args.output, run) for run in runs]
    for record in found:
        for part in (record, *record["epochs"]):
            del part["seconds"]
        del record["threads"]
    return found


def test_processes_make_the_records_that_one_after_the_other_makes_and_one_that_fails_stops_no_other(
    make_run, tmp_path
):
    failing, *runs = make_run("CL4SRec", learning_rate=1e30), make_run("CL4SRec"), make_run("DuoRec")
    serial, parallel = options(tmp_path), options(tmp_path, "b", jobs=2)
    for args in (serial, parallel):
        with pytest.raises(RunError, match=r"1 of 3 trainings failed: CL4SRec, tiny, seed 1: epoch \d .*not finite"):
            record_missing([failing, *runs], args)
        assert not records.exists(args.output, failing)
    assert recorded(serial, runs) == recorded(parallel, runs)
    assert not list(parallel.work.glob(f"{runs[0].name}.state*"))


class Killing(Processes):
    """Kills the process of a training after its first epoch, once."""

    killed = 0

    def wait(self, told):
        def after(run, what):
            if isinstance(what, Epoch) and not self.killed:
                self.killed += 1
                (process,) = (process for each, process in self._running.values() if each == run)
                os.kill(process.pid, signal.SIGKILL)
            told(run, what)

        super().wait(after)


def test_a_training_whose_process_is_killed_resumes_and_ends_with_the_same_record(
    make_run, tmp_path, monkeypatch, caplog
):
    run = make_run("CL4SRec", epochs=6)
    whole, killed = options(tmp_path), options(tmp_path, "b", jobs=2)
    record_missing([run], whole)
    monkeypatch.setattr(runner, "Processes", Killing)
    with caplog.at_level("INFO"):
        record_missing([run], killed)
    assert "its process was killed (SIGKILL); it is begun again" in caplog.text
    assert recorded(whole, [run]) == recorded(killed, [run])


class Imagined:
    """An engine that trains nothing: every run completes two epochs, and then ``outcomes`` say what becomes of it."""

    def __init__(self, capacity, outcomes=(), kept=lambda run: None):
        self.capacity, self.outcomes, self.kept = capacity, dict(outcomes), kept
        self.running, self.log = [], []

    def start(self, run):
        self.running.append(run)
        self.log.append(f"start {run.seed}")

    def wait(self, told):
        assert len(self.running) <= self.capacity
        for run in list(self.running):
            told(run, Epoch("epoch 1", 1.0, 1.0))
            self.kept(run)
            outcomes = self.outcomes.get(run.seed, [])
            self.running.remove(run)
            told(run, outcomes.pop(0) if outcomes else {"seed": run.seed})
            self.log.append(f"end {run.seed}")

    def stop(self):
        self.log.append("stop")


def imagined(monkeypatch, engine):
    monkeypatch.setattr(runner, "Processes", lambda work, jobs: engine)
    monkeypatch.setattr(records, "write", lambda output, run, record: engine.log.append(f"write {record['seed']}"))


def test_a_training_is_begun_three_times_at_most(make_run, tmp_path, monkeypatch):
    engine = Imagined(1, {1: [Died("gone")] * 3, 2: [Died("gone")] * 2})
    imagined(monkeypatch, engine)
    with pytest.raises(RunError, match="1 of 2 trainings failed: CL4SRec, tiny, seed 1: gone"):
        record_missing([make_run(seed=1), make_run(seed=2)], options(tmp_path, jobs=2))
    assert [word for word in engine.log if word.startswith(("start", "write"))] == ["start 1"] * 3 + ["start 2"] * 3 + [
        "write 2"
    ]
    assert engine.log[-1] == "stop"


def test_runs_that_share_a_warm_up_wait_for_it(make_run, tmp_path, monkeypatch):
    args = options(tmp_path, jobs=4)
    args.work.mkdir()
    guided = {"epochs": 9, "num_updates": 2}  # the first update is at epoch 3
    runs = [make_run("EC4SRec", 1, **guided), make_run("EC4SRecSL", 1, **guided), make_run("EC4SRec", 2, **guided)]
    later = replace(runs[0], settings={**runs[0].settings, "num_updates": 1})  # its first update is at epoch 4
    assert warmup.waits(runs[1], [runs[0]], args.work) and warmup.waits(later, [runs[0]], args.work)
    assert not warmup.waits(runs[0], [later], args.work) and not warmup.waits(runs[2], runs[:2], args.work)
    assert not warmup.waits(make_run("CL4SRec"), runs, args.work)

    engine = Imagined(4, kept=lambda run: warmup._file(run, args.work, 2).touch())
    imagined(monkeypatch, engine)
    record_missing(runs, args)
    assert engine.log[:2] == ["start 1", "start 2"]  # the second run waits until the first one has kept its warm-up
    assert engine.log.count("start 1") == 2 and engine.log.index("end 1") < engine.log.index("start 1", 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jobs": 0}, "--jobs: got 0, allowed is 1 or more"),
        ({"address": "auto"}, "--address: got auto, allowed is none without --engine=ray"),
        ({"engine": "ray", "jobs": 2}, "--jobs: got 2, allowed is 1 with --engine=ray, which has --cpus_per_run"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        check_engine(options(tmp_path, **given))


def test_words_of_a_worker_of_ray_are_no_settings(make_run, tmp_path, monkeypatch):
    """RecBole reads the command line of any process as settings; those would differ in the worker that resumes."""
    run, told = make_run(), SimpleNamespace(put=lambda epoch: None)
    records.write(options(tmp_path).output, run, train(run, tmp_path / "work"))
    monkeypatch.setattr(sys, "argv", ["default_worker.py", "--startup-token=2", "--worker-launch-time-ms=17957"])
    records.write(options(tmp_path, "b").output, run, train_on_ray(run, tmp_path / "work-b", os.getcwd(), told))
    assert recorded(options(tmp_path), [run]) == recorded(options(tmp_path, "b"), [run])


def test_an_error_that_nobody_foresaw_ends_one_training_and_not_the_others(make_run, tmp_path, monkeypatch):
    failing, other = make_run("CL4SRec"), make_run("DuoRec")
    made = engines.train

    def train(run, *given):
        if run == failing:
            raise MemoryError("no more")
        return made(run, *given)

    monkeypatch.setattr(engines, "train", train)
    args = options(tmp_path)
    with pytest.raises(RunError, match="1 of 2 trainings failed: CL4SRec, tiny, seed 1: MemoryError: no more"):
        record_missing([failing, other], args)
    assert records.exists(args.output, other)
