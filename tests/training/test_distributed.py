"""Two processes compute what one does; and when one dies, so does the run."""

import functools
import itertools
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from conftest import SMALL, SMALL_EC4SREC, Experiment
from recbole.config import Config
from recbole.quick_start import quick_start as recbole_quick_start
from small import free_port

import recbole_ec4srec
from recbole_ec4srec import EC4SRec
from recbole_ec4srec.commands.run_recbole import main as run_recbole_command
from recbole_ec4srec.errors import ConfigError, ProcessLost
from recbole_ec4srec.storage.settings import plain
from recbole_ec4srec.training import distributed
from recbole_ec4srec.training.build import build
from recbole_ec4srec.training.protocols import PROTOCOLS

SETTINGS = {
    **SMALL,
    **SMALL_EC4SREC,
    "n_layers": 1,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "user_inter_num_interval": "[4,99]",  # 57 users are evaluated: no even number
    "eval_batch_size": 10,
    "metrics": ["Hit", "NDCG", "MRR", "GAUC"],
    "metric_decimal_place": 10,
    "ddp_backend": "gloo",
}
#: What takes part in the loss, and how: guided or not, and what of the model is changed.
LOSSES = [
    (False, {}),
    (True, {}),
    (True, {"sim": "cos", "tau": 0.5, "tau_cl": 0.3}),
    (True, {"same_target": "ignored"}),
    (True, {"same_target": "positive", "weights": {True: {"cl_pos_hard": 0.4, "sl_pos": 0.3}}}),
    (True, {"second_pass": True}),
    (True, {"loss_type": "BPR"}),
    (True, {"view_loss": "recommendation"}),
]


def computed(config, rank=0, size=1):
    """What the tests compare, for this process's share of a batch of 32 instances: losses and gradients, importance,
    metrics."""
    small = Experiment(config)
    model, trainer, loader = small.model, small.trainer, small.train_data
    rows = torch.randperm(len(loader._dataset), generator=torch.Generator().manual_seed(1))[:32]
    results = {"losses": [], "gradients": []}
    for guided, settings in LOSSES:
        if guided and not loader.guided:
            results["importance"] = trainer.explainer.table(loader._dataset, torch.device("cpu"))
            loader.set_importance(results["importance"])
        iter(loader)
        batch = loader.collate_fn(rows).with_views()
        batch.interaction[model.NEG_ITEM_ID] = batch[model.POS_ITEM_ID].roll(5)
        usual = {name: getattr(model, name) for name in settings}
        vars(model).update(settings)
        model.zero_grad()
        if size > 1:
            trainer.set_reduce_hook()
        losses = model.calculate_loss(batch[rank::size])
        (sum(losses) + trainer.sync_grad_loss()).backward()
        results["losses"].append([loss.item() for loss in losses])
        results["gradients"].append({name: weight.grad.clone() for name, weight in model.named_parameters()})
        vars(model).update(usual)
    results["importance"] = results["importance"].values
    results["metrics"] = plain(trainer.evaluate(small.test_data, load_best_model=False))
    results["of protocols"] = under_both(config)
    return results


def under_both(config):
    """The metrics of a new model under both protocols, which the first process saves and loads."""
    judged = build(config, under_both=True)
    judged.trainer._save_checkpoint(0)
    judged.trainer._save_other(0, False)
    return {protocol: judged.trainer.evaluate_best(judged.test_data, protocol) for protocol in PROTOCOLS}


def computed_of_sequences(config, rank=0, size=1):
    """Losses and gradients of this process's share of a batch of 32 users, with operators that leave nothing to chance:
    what is drawn for a batch depends on its first user."""
    small = Experiment(config)
    trainer, loader = small.trainer, small.train_data
    loader.set_importance(trainer.explainer.table(loader._dataset, torch.device("cpu")))
    iter(loader)
    if size > 1:
        trainer.set_reduce_hook()
    losses = small.model.calculate_loss(loader.collate_fn(list(range(32))[rank::size]))
    (sum(losses) + trainer.sync_grad_loss()).backward()
    gradients = {name: weight.grad.clone() for name, weight in small.model.named_parameters()}
    return {"losses": [loss.item() for loss in losses], "gradients": gradients}


def compute(rank, port, settings, computed=computed):
    """A process of two, each on a machine, so in a folder, of its own; it leaves in a file what it has computed."""
    os.mkdir(f"machine{rank}"), os.chdir(f"machine{rank}")
    group = {"local_rank": rank, "offset": 0, "nproc": 2, "world_size": 2, "ip": "localhost", "port": port}
    torch.save(computed(Config("EC4SRec", "tiny", config_dict={**settings, **group}), rank, 2), "results.pt")


def test_two_processes_compute_what_one_does(data_path):
    settings = {**SETTINGS, "data_path": str(data_path)}
    one = computed(Config("EC4SRec", "tiny", config_dict=settings))
    torch.multiprocessing.spawn(compute, (free_port(), settings), nprocs=2)
    for rank in range(2):
        results = torch.load(f"machine{rank}/results.pt")
        assert torch.equal(results["importance"], one["importance"])
        torch.testing.assert_close(results["losses"], one["losses"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(results["gradients"], one["gradients"], rtol=1e-5, atol=1e-5)
        assert results["metrics"] == pytest.approx(one["metrics"], abs=1e-6)
        for protocol in PROTOCOLS:
            assert results["of protocols"][protocol] == pytest.approx(one["of protocols"][protocol], abs=1e-6)
    assert one["of protocols"]["all"] != one["of protocols"]["unseen"]
    assert len(list(Path("machine0/saved").iterdir())) == 2 and list(Path("machine1/saved").iterdir()) == []


def test_two_processes_compute_what_one_does_on_sequences(data_path):
    settings = {**SETTINGS, "data_path": str(data_path), "train_on": "sequences", "MAX_ITEM_LIST_LENGTH": 5}
    settings |= {"augmentations": ["mask"], "negative_augmentations": ["mask"], "lambda_sl_pos": 0}
    one = computed_of_sequences(Config("EC4SRec", "tiny", config_dict=settings))
    assert len(one["losses"]) == 3
    torch.multiprocessing.spawn(compute, (free_port(), settings, computed_of_sequences), nprocs=2)
    for rank in range(2):
        results = torch.load(f"machine{rank}/results.pt")
        torch.testing.assert_close(results["losses"], one["losses"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(results["gradients"], one["gradients"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", ["EC4SRec", pytest.param("SASRec", marks=pytest.mark.slow)])
def test_a_run_of_two_processes_is_written_and_tested_as_that_of_one(model, data_path, tmp_path, experiment):
    settings = {**SETTINGS, "data_path": str(data_path), "resume": "auto"}
    result = recbole_ec4srec.run(model, "tiny", config_dict=dict(settings), nproc=2, port=free_port())
    (saved,), (state,) = ((tmp_path / "saved").glob(f"*.{kind}") for kind in ("pth", "state"))
    (log,) = (tmp_path / "log" / model).iterdir()
    (tensorboard,) = (tmp_path / "log_tensorboard").iterdir()
    assert len(list(tensorboard.glob("events*"))) == 1
    assert log.read_text().count("test result") == 1
    one = experiment(model, **settings)
    assert one.trainer.evaluate(one.test_data, model_file=str(saved)) == pytest.approx(result["test_result"], abs=1e-6)
    first, second = torch.load(state, weights_only=True)["random"]
    assert not torch.equal(first["torch"], second["torch"])
    with pytest.raises(ConfigError, match=rf"^nproc: got 1, allowed is 2 to resume from .*{state.name}"):
        recbole_ec4srec.run(model, "tiny", config_dict=dict(settings))


@pytest.fixture
def device():
    """``device(gpus, …)``: the settings of the second of two processes on a machine with ``gpus`` GPUs, and the
    ``local_rank`` of each call of RecBole's ``_init_device``."""

    def find(gpus, **settings):
        config = types.SimpleNamespace(final_config_dict={"local_rank": 1, "nproc": 2, "gpu_id": "0", **settings})
        final, asked = config.final_config_dict, []

        def recboles(config):
            asked.append(final.get("local_rank"))
            final["device"] = torch.device("cuda" if gpus and final["gpu_id"] else "cpu")

        distributed.init_device(recboles, config)
        return final, asked

    return find


def test_on_gpus_processes_join_by_nccl_and_wait_as_long_as_on_cpus(device, monkeypatch):
    joined, used = [], []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(dist, "rendezvous", lambda *place, timeout: iter([(place, 3, 4)]))
    monkeypatch.setattr(dist, "init_process_group", lambda *args, **named: joined.append((*args, named)))
    monkeypatch.setattr(dist, "group", types.SimpleNamespace(WORLD="the group"))
    monkeypatch.setattr(distributed, "_joined", [])
    final, asked = device(2, gpu_id="0,1", offset=2, world_size=4, ip="10.0.0.1", port="29500")
    assert asked == [None]  # to find the device
    patience = timedelta(minutes=30)
    group = {"store": ("tcp://10.0.0.1:29500", 3, 4), "rank": 3, "world_size": 4, "timeout": patience}
    assert joined == [("nccl", group)]
    assert used == [final["local_rank"]] == [1] and final["device"] == torch.device("cuda", 1)
    assert final["single_spec"] is False
    assert final["state"] == "error" and final["show_progress"] is final["save_dataset"] is False


def test_what_the_processes_cannot_run_on_is_refused(device):
    with pytest.raises(ConfigError, match="gpu_id: got '0', allowed is a GPU for each of nproc: 2, or ddp_backend"):
        device(2)
    with pytest.raises(ConfigError, match="ddp_backend: got 'nccl', allowed is gloo without a GPU"):
        device(0, ddp_backend="nccl")


LAUNCHED = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
LAUNCHED |= {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def test_the_processes_that_torchrun_started_are_used(device, monkeypatch):
    assert distributed.started() == {} and distributed.is_first()
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    process = {"local_rank": 1, "offset": 2, "nproc": 2, "world_size": 4, "ip": "10.0.0.1", "port": "29500"}
    assert distributed.started() == process and not distributed.is_first()
    run = functools.partial(distributed.run, lambda *args: args[5:7], "EC4SRec", "tiny")
    assert run() == run(nproc=2, world_size=4) == (1, -1)  # one process, which is this one
    with pytest.raises(ConfigError, match="nproc: got 3, allowed is 2, as many as torchrun has started"):
        run(nproc=3)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert distributed.started() == {}  # a single process is not one of several


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "pair.cc:537] Read error [10.77.0.2]:30336: No route to host. This is typically",
            r"10.77.0.2 .*\(No route to",
        ),
        ("pair.cc:534] Connection closed by peer [::1]:9434", r"::1 .*\(Connection closed by peer\)"),
    ],
)
def test_a_connection_that_has_ended_is_told_in_a_line(text, told):
    error = RuntimeError(f"[/pytorch/third_party/gloo/gloo/transport/tcp/{text}")
    assert isinstance(distributed.lost(error), ProcessLost)
    assert re.match(rf"the connection to the process on {told}", str(distributed.lost(error)))
    assert distributed.lost(RuntimeError("shapes do not fit")) is None


def test_the_system_ends_connections_that_are_cut():
    with socket.create_server(("localhost", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        distributed._end_when_cut(connection.fileno())
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_an_address_where_the_processes_cannot_meet_is_refused():
    final = {"ip": "no machine", "port": 1, "world_size": 2, "nproc": 1}
    with pytest.raises(
        ConfigError, match="ip, port: got no machine:1, allowed is where the first of 2 processes waits"
    ):
        distributed._join(final, 0, "gloo")


def test_processes_with_other_settings_are_refused():
    distributed.refuse_others([{"tau": 1.0}, {"tau": 1.0}])
    with pytest.raises(ConfigError, match=r"tau: got 0.5 in process 1, allowed is 1.0, as in process 0"):
        distributed.refuse_others([{"tau": 1.0}, {"tau": 0.5}])


#: A script of a user's, whose second process dies in the third epoch of the attempt DIES_AT.
SCRIPT = """
import json, os, signal
from recbole.quick_start import run_recbole
from recbole_ec4srec.training.trainer import EC4SRecTrainer

train_epoch = EC4SRecTrainer._train_epoch

def _train_epoch(trainer, data, epoch, *args, **options):
    if epoch == 2 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == os.environ["DIES_AT"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return train_epoch(trainer, data, epoch, *args, **options)

EC4SRecTrainer._train_epoch = _train_epoch
result = run_recbole("EC4SRec", "tiny")
if os.environ["RANK"] == "0":
    json.dump(result, open("result.json", "w"), default=float)
"""


@pytest.mark.slow
def test_torchrun_starts_a_run_again_that_goes_on(data_path, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    results, logs = [], []
    for name, attempt in (("unbroken", "never"), ("killed", "0")):
        (tmp_path / name).mkdir()
        settings = {**SETTINGS, "data_path": data_path, "resume": "auto"}
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--max-restarts=1"]
        command += [f"--master_port={free_port()}", "-m", "recbole_ec4srec", tmp_path / "script.py"]
        command += [f"--{key}={value}".replace(" ", "") for key, value in settings.items()]
        environment = {**os.environ, "DIES_AT": attempt, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path / name, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        results.append((tmp_path / name / "result.json").read_text())
        logs.append(done.stdout + done.stderr)
    assert results[0] == results[1]
    assert ["Resuming from" in log for log in logs] == [False, True]


def test_more_processes_than_users_are_refused():
    sampler = types.SimpleNamespace(dataset=[0], num_replicas=2, rank=0)
    with pytest.raises(ConfigError, match="nproc: got 2, allowed is at most the number of users that are evaluated, 1"):
        distributed.Synchronised.evaluate(None, types.SimpleNamespace(sampler=sampler))


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise OSError("no space left on the disk")


def refuse():
    raise ConfigError("tau: got 7")


def second_ends(end, rank, *args):
    """RecBole's process, of which the second calls ``end`` within an epoch."""
    if rank == 1:
        calculate_loss, calls = EC4SRec.calculate_loss, itertools.count()
        EC4SRec.calculate_loss = lambda *batch: end() if next(calls) == 5 else calculate_loss(*batch)
    distributed.run_recboles(rank, *args)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (kill, "error: process 1 terminated with signal SIGKILL\n"),
        pytest.param(fail, "OSError: no space left on the disk\n", marks=pytest.mark.slow),
        pytest.param(refuse, "error: tau: got 7\n", marks=pytest.mark.slow),
    ],
)
def test_when_a_process_dies_the_run_ends_with_its_error(end, message, data_path, monkeypatch, capsys):
    monkeypatch.setattr(recbole_quick_start, "run_recboles", functools.partial(second_ends, end))
    settings = {**SETTINGS, "data_path": data_path, "epochs": 1000}
    given = [f"--{key}={value}".replace(" ", "") for key, value in settings.items()]
    command = ["run_recbole", "--dataset=tiny", "--nproc=2", f"--port={free_port()}", *given]
    monkeypatch.setattr(sys, "argv", command)
    started = time.time()
    with pytest.raises(SystemExit) as ended:
        run_recbole_command()
    assert ended.value.code == 1
    assert time.time() - started < 60
    error = capsys.readouterr().err
    assert error.endswith(message), error
    assert multiprocessing.active_children() == []
