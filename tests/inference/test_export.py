"""A trained model as files that onnxruntime serves: what ``recommend`` gives, from the files alone."""

import inspect
import json
import re
import subprocess
import sys
import threading
import urllib.request
from http.server import HTTPServer
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
import yaml
from conftest import OUR_MODELS, ROOT
from onnxruntime import InferenceSession
from safetensors.torch import load_file

import recbole_ec4srec
from recbole_ec4srec.commands import ec4srec
from recbole_ec4srec.data.identity import remember
from recbole_ec4srec.encoder.kernels import linear
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.inference import TrainedModel, recommend
from recbole_ec4srec.inference import export as exporting
from recbole_ec4srec.inference.export import CARD, ITEMS, MODEL, WEIGHTS, export

LENGTH = 8
OURS = [(name, "SASRec") for name in OUR_MODELS] + [("EC4SRec", "GRU4Rec"), ("EC4SRec", "BERT4Rec")]
RECBOLES = [("SASRec", None), ("GRU4Rec", None), ("BERT4Rec", None)]
OF_MODEL = {"GRU4Rec": {"embedding_size": 16}}


@pytest.fixture(scope="module")
def checkpoints():
    return {}


@pytest.fixture
def checkpoint(checkpoints, experiment, tmp_path_factory):
    """``checkpoint(model, backbone)``: the file of a model with random weights as large as trained ones; made once."""

    def make(model="EC4SRec", backbone=None):
        if (model, backbone) not in checkpoints:
            settings = OF_MODEL.get(backbone or model, {}) | ({"backbone": backbone} if backbone else {})
            small = experiment(model, checkpoint_dir=str(tmp_path_factory.mktemp("saved")), **settings)
            generator = torch.Generator().manual_seed(1)
            for weight in small.model.parameters():
                weight.data.copy_(0.5 * torch.randn(weight.shape, generator=generator))
            remember(small.model, small.train_data._dataset)
            small.trainer.best_valid_score = 0.25
            small.trainer._save_checkpoint(3, verbose=False)
            checkpoints[model, backbone] = small.trainer.saved_model_file
        return checkpoints[model, backbone]

    return make


def histories(*lengths):
    """``{user: items}``: for each length a user, named by it."""
    rng = np.random.default_rng(5)
    return {f"u{length}": [f"i{item}" for item in rng.integers(1, 41, length)] for length in lengths}


def best_of_recommend(trained, of_users, **options):
    """What ``recommend`` gives: by user the items, and their scores."""
    rows = [(user, item) for user, items in of_users.items() for item in items]
    table, _ = recommend(trained, pd.DataFrame(rows, columns=["user", "item"]), **options)
    return [(of["item"].tolist(), of["score"].to_numpy()) for _, of in table.groupby("user", sort=False)]


def numbers(folder):
    items = json.loads((folder / ITEMS).read_text(encoding="utf-8"))
    return items, {item: number for number, item in enumerate(items)}


def padded(rows, width):
    return np.array([row + [0] * (width - len(row)) for row in rows], np.int64)


@pytest.mark.parametrize("model, backbone", [*OURS, *RECBOLES])
def test_the_scores_are_those_of_recommend_for_all_lengths(model, backbone, checkpoint, tmp_path):
    trained = TrainedModel(checkpoint(model, backbone))
    export(trained, tmp_path / "out")
    session = InferenceSession(tmp_path / "out" / MODEL)
    items, number = numbers(tmp_path / "out")
    assert items == [None, *trained.items[1:]]
    of_users = histories(*range(1, LENGTH + 1), LENGTH + 5)
    known = [[number[item] for item in history][-LENGTH:] for history in of_users.values()]
    scores, representation = session.run(["scores", "representation"], {"item_seq": padded(known, LENGTH)})
    assert scores.shape == (LENGTH + 1, 41) and np.isneginf(scores[:, 0]).all() and len(representation) == LENGTH + 1
    for row, (best, expected) in zip(scores, best_of_recommend(trained, of_users)):
        places = np.argsort(-row)[:10]
        assert [items[place] for place in places] == best
        np.testing.assert_allclose(row[places], expected, atol=1e-4, rtol=0)


@pytest.mark.skipif(not linear.HAS_ONEDNN, reason="this torch has no product by oneDNN")
def test_products_of_whole_blocks_are_written_too(experiment, tmp_path, monkeypatch):
    small = experiment("EC4SRec", MAX_ITEM_LIST_LENGTH=linear.ROWS // 2, num_updates=0, update_epochs=[])
    remember(small.model, small.train_data._dataset)
    small.trainer._save_checkpoint(0, verbose=False)
    monkeypatch.setattr(linear, "USES_ONEDNN", True)
    assert export(TrainedModel(small.trainer.saved_model_file), tmp_path).difference < 1e-4


def test_any_number_of_histories_and_one_at_a_time_give_the_same(checkpoint, tmp_path):
    export(TrainedModel(checkpoint()), tmp_path)
    session = InferenceSession(tmp_path / MODEL)
    item_seq = padded(np.random.default_rng(0).integers(1, 41, (300, LENGTH)).tolist(), LENGTH)
    (together,) = session.run(["scores"], {"item_seq": item_seq})
    alone = np.concatenate([session.run(["scores"], {"item_seq": row[None]})[0] for row in item_seq])
    np.testing.assert_allclose(together[:, 1:], alone[:, 1:], atol=1e-5)
    assert session.run(["scores"], {"item_seq": item_seq[:0]})[0].shape == (0, 41)


@pytest.mark.parametrize("filter_seen", [False, True])
@pytest.mark.parametrize("model, backbone", [("EC4SRec", "BERT4Rec"), ("GRU4Rec", None)])
def test_the_best_items_are_chosen_in_the_graph(model, backbone, filter_seen, checkpoint, tmp_path):
    trained = TrainedModel(checkpoint(model, backbone))
    export(trained, tmp_path, topk=7, filter_seen=filter_seen)
    session = InferenceSession(tmp_path / MODEL)
    items, number = numbers(tmp_path)
    of_users = histories(1, 5, LENGTH, 38)  # of the last, few items are left
    known = [[number[item] for item in history] for history in of_users.values()]
    given = {"item_seq": padded([row[-LENGTH:] for row in known], LENGTH)}
    if filter_seen:
        given["seen"] = padded(known, 38)
    assert {each.name for each in session.get_inputs()} == set(given)
    best, scores = session.run(["items", "scores"], given)
    expected = best_of_recommend(trained, of_users, topk=7, filter_seen=filter_seen)
    for chosen, row, (items_of_user, scores_of_user) in zip(best, scores, expected):
        ranked = np.isfinite(row)
        assert [items[place] for place in chosen[ranked]] == items_of_user
        np.testing.assert_allclose(row[ranked], scores_of_user, atol=1e-4, rtol=0)
        assert len(row) == 7


def test_more_are_asked_for_than_there_are(checkpoint, tmp_path):
    export(TrainedModel(checkpoint()), tmp_path, topk=1000)
    session = InferenceSession(tmp_path / MODEL)
    best, _, _ = session.run(None, {"item_seq": padded([[3]], LENGTH)})
    assert sorted(best[0].tolist()) == list(range(1, 41))


def test_a_history_without_an_item_gets_nothing(checkpoint, tmp_path):
    export(TrainedModel(checkpoint()), tmp_path)
    scores, _ = InferenceSession(tmp_path / MODEL).run(None, {"item_seq": padded([[], [5]], LENGTH)})
    assert np.isneginf(scores[0]).all() and np.isfinite(scores[1, 1:]).all()


def test_what_is_beside_the_graph(checkpoint, tmp_path, capsys):
    file = checkpoint()
    ec4srec.main(["export", f"--checkpoint={file}", f"--output={tmp_path / 'out'}", "--topk=3", "--filter_seen"])
    out, told = capsys.readouterr()
    assert out == "" and [line.split()[0] for line in told.splitlines()] == ["written:"] * 4 + ["largest"]
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == sorted([MODEL, ITEMS, WEIGHTS, CARD])
    trained = TrainedModel(file)
    weights = load_file(folder / WEIGHTS)
    assert weights.keys() == trained.model.state_dict().keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in trained.model.state_dict().items())
    graph = onnx.load(folder / MODEL)
    onnx.checker.check_model(graph, full_check=True)
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", exporting.OPSET)]
    largest = [each.dims[0] for each in graph.graph.initializer if 41 in each.dims or 42 in each.dims]
    assert largest == [42]  # the items' embeddings are there once
    card = (folder / CARD).read_text(encoding="utf-8")
    assert "# EC4SRec with backbone SASRec, trained on tiny" in card
    assert "- interactions: " in card and "- NDCG@10 on the validation set: 0.2500, after epoch 3" in card
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, re.S)[1])
    assert settings["hidden_size"] == 16 and "data_path" not in settings
    assert f"- torch: {version('torch')}" in card and f"- recbole_ec4srec: {recbole_ec4srec.__version__}" in card
    session = InferenceSession(folder / MODEL)
    for each in [*session.get_inputs(), *session.get_outputs()]:
        (line,) = [line for line in card.splitlines() if line.startswith(f"- `{each.name}`: ")]
        shape = ", ".join(re.sub("n_seen", "any", str(size)) for size in each.shape)
        assert f"[{shape}]" in line or each.name == "representation"


def test_a_checkpoint_of_recboles_own_has_a_card_too(checkpoint, tmp_path):
    trained = TrainedModel(checkpoint("SASRec"))
    trained.fingerprint, trained.best_valid_score = {}, float("-inf")
    export(trained, tmp_path)
    card = (tmp_path / CARD).read_text(encoding="utf-8")
    assert "# SASRec, trained on tiny" in card and "None are known." in card and "- name: tiny" in card


def refused(trained, folder, **options):
    """The message, and that nothing was written."""
    with pytest.raises(ConfigError) as error:
        export(trained, folder, **options)
    assert not folder.exists()
    return str(error.value)


def test_what_cannot_be_exported_is_refused_by_name(checkpoint, tmp_path):
    folder = tmp_path / "out"
    caser = refused(TrainedModel(checkpoint("Caser")), folder)
    assert caser.startswith("export: got a Caser, which takes the user with the sequence")
    hgn = refused(TrainedModel(checkpoint("EC4SRec", "HGN")), folder)
    assert hgn.startswith("export: got a EC4SRec with backbone HGN, which takes the user")
    graph = refused(
        TrainedModel(checkpoint("SRGNN")), folder
    )  # its forward follows the ids: a trace holds for none else
    assert graph.startswith("export: got a SRGNN, which cannot be written as ONNX (")
    repeat = refused(TrainedModel(checkpoint("RepeatNet")), folder)
    assert repeat.startswith("export: got a RepeatNet, whose scores are not products of a representation")
    assert "\n" not in caser + hgn + graph + repeat


def test_an_operation_that_onnx_lacks_ends_in_one_line(checkpoint, tmp_path, capfd, monkeypatch):
    trained = TrainedModel(checkpoint())
    encode = type(trained.model.backbone).forward

    def with_fft(backbone, *given):
        return encode(backbone, *given) + 0 * torch.fft.rfft(given[0].float()).abs().sum()

    monkeypatch.setattr(type(trained.model.backbone), "forward", with_fft)
    told = refused(trained, tmp_path / "out")
    assert "cannot be written as ONNX" in told and "fft_rfft" in told
    assert capfd.readouterr().out == ""


def test_a_graph_that_differs_is_not_written(checkpoint, tmp_path, monkeypatch):
    trained = TrainedModel(checkpoint())
    run = exporting._run
    monkeypatch.setattr(exporting, "_run", lambda *given: [run(*given)[0] + 0.01, run(*given)[1]])
    assert "cannot be written as ONNX (scores differ by 0.01)" in refused(trained, tmp_path / "out")
    monkeypatch.setattr(exporting, "_run", lambda *given: [np.roll(run(*given)[0], 1, axis=1), run(*given)[1]])
    assert "scores differ by inf" in refused(trained, tmp_path / "out")


def test_a_package_that_is_missing_is_named(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit) as end:
        ec4srec.main(["export", f"--checkpoint={checkpoint()}", f"--output={tmp_path / 'out'}"])
    assert end.value.code == 1 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err == (
        "error: export needs onnxruntime, which is not installed: pip install 'recbole_ec4srec[export]'\n"
    )


def test_what_was_there_is_replaced_as_a_whole_or_stays(checkpoint, tmp_path, monkeypatch):
    trained = TrainedModel(checkpoint())
    export(trained, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = Path.write_bytes

    def full(path, content):
        if path.name.startswith(CARD):
            raise OSError("no space left on device")
        return write(path, content)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(Path, "write_bytes", full)
        export(trained, tmp_path, topk=3)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    export(trained, tmp_path, topk=3)
    assert {path.name for path in tmp_path.iterdir()} == set(before)
    assert (tmp_path / MODEL).read_bytes() != before[MODEL]
    with pytest.raises(ConfigError, match=r"output: got .*README.md, which is no folder"):
        export(trained, tmp_path / CARD)


def test_a_torch_with_one_exporter_is_not_told_which(checkpoint, tmp_path, monkeypatch):
    asked, original = {}, torch.onnx.export

    def one(model, args, f, **options):  # as in torch 2.0
        asked.update(options)
        choice = {"dynamo": False} if "dynamo" in inspect.signature(original).parameters else {}
        return original(model, args, f, **options, **choice)

    monkeypatch.setattr(torch.onnx, "export", one)
    export(TrainedModel(checkpoint()), tmp_path)
    assert asked["opset_version"] == exporting.OPSET and "dynamo" not in asked


# --- The page ---------------------------------------------------------------------------------------------------------


def code_of(name):
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if block.startswith(f"# {name}\n")]
    return code


@pytest.fixture
def served(checkpoint, tmp_path):
    """A trained model, exported for the code of the page, which is in the working folder."""
    trained = TrainedModel(checkpoint())
    export(trained, "exported", topk=10, filter_seen=True)
    for name in ("serve.py", "server.py"):
        (tmp_path / name).write_text(code_of(name), encoding="utf-8")
    return trained


def test_the_page_serves_in_twenty_lines_without_torch_and_recbole(served):
    lines = [line for line in code_of("serve.py").splitlines()[1:] if line]
    assert len(lines) <= 20
    of_users = {**histories(1, 4, LENGTH, 20), "unknown": ["nothing", "i3"], "nobody": ["nothing"]}
    asked = f"""
import json, sys
for name in ("torch", "recbole", "recbole_ec4srec", "pandas"):
    sys.modules[name] = None
from serve import recommend
print(json.dumps([recommend({[*of_users.values()]!r}), recommend([])]))
"""
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    *best, nobody = json.loads(done.stdout)[0]
    assert nobody == [] and json.loads(done.stdout)[1] == []
    for answer, (items, scores) in zip(best, best_of_recommend(served, of_users, filter_seen=True)):
        assert [item for item, _ in answer] == items
        np.testing.assert_allclose([score for _, score in answer], scores, atol=1e-4, rtol=0)


def test_the_page_serves_over_http(served, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("serve", "server"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import server

    monkeypatch.setattr(server.Recommender, "log_message", lambda *_: None)
    with HTTPServer(("localhost", 0), server.Recommender) as listening:
        threading.Thread(target=listening.serve_forever).start()
        try:
            request = json.dumps([["i3", "i7"]]).encode()
            with urllib.request.urlopen(f"http://localhost:{listening.server_port}", request, timeout=10) as answer:
                (best,) = json.load(answer)
        finally:
            listening.shutdown()
    for name in ("serve", "server"):
        monkeypatch.delitem(sys.modules, name)
    ((items, _),) = best_of_recommend(served, {"u": ["i3", "i7"]}, filter_seen=True)
    assert [item for item, _ in best] == items
