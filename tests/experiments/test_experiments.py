"""The synthetic data, and the experiments' commands on a small number of epochs."""

import csv
import json
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT

import recbole_ec4srec
from recbole_ec4srec.data import synthetic
from recbole_ec4srec.experiments import __main__ as command
from recbole_ec4srec.experiments import progress, records, training, warmup
from recbole_ec4srec.experiments.diagnosis import representations, similarities
from recbole_ec4srec.experiments.explanations import precision_and_reciprocal_rank
from recbole_ec4srec.experiments.plans import PLANS
from recbole_ec4srec.experiments.tables import spread
from recbole_ec4srec.storage.checkpoint import load_checkpoint
from recbole_ec4srec.training.trainer import EC4SRecTrainer


def read(folder):
    lines = (folder / "synthetic" / "synthetic.inter").read_text().splitlines()
    return lines[0], [line.split("\t") for line in lines[1:]]


def test_every_user_has_ten_items_of_which_three_are_important_and_three_next_items():
    items, important = synthetic.sequences(seed=3)
    assert items.shape == important.shape == (500, 13)
    assert (important[:, :10].sum(1) == 3).all() and not important[:, 10:].any()
    for row in items:
        assert len(set(row.tolist())) == 13


def test_the_next_items_depend_on_the_important_ones_and_on_nothing_else():
    items, important = synthetic.sequences(seed=3)
    following = {}
    for row, flags in zip(items, important):
        following.setdefault(frozenset(row[flags].tolist()), set()).add(frozenset(row[10:].tolist()))
    assert len(following) == 100
    assert all(len(found) == 1 for found in following.values())
    assert len(set().union(*(next(iter(found)) for found in following.values()))) == 300
    others = np.concatenate([row[:10][~flags[:10]] for row, flags in zip(items, important)])
    assert set(others.tolist()) == set(range(200))


def test_important_items_stand_anywhere():
    _, important = synthetic.sequences(seed=3)
    assert (np.abs(important[:, :10].mean(0) - 0.3) < 0.08).all()


def test_the_command_writes_the_copy_in_the_repository(tmp_path, capsys):
    synthetic.main(["--seed=1", f"--output={tmp_path}"])
    written = tmp_path / "synthetic" / "synthetic.inter"
    assert capsys.readouterr().err == f"written: {written}\n"
    assert written.read_bytes() == (ROOT / "dataset" / "synthetic" / "synthetic.inter").read_bytes()
    synthetic.main(["--seed=2", f"--output={tmp_path}"])
    assert written.read_bytes() != (ROOT / "dataset" / "synthetic" / "synthetic.inter").read_bytes()


def test_the_file_is_in_recboles_format(tmp_path):
    synthetic.write(tmp_path, seed=1)
    header, rows = read(tmp_path)
    assert header == "user_id:token\titem_id:token\ttimestamp:float\timportant:float"
    assert len(rows) == 500 * 13
    assert {row[3] for row in rows} == {"0", "1"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(name, *arguments)``: an experiment over small data; the rows of its table."""
    monkeypatch.setattr(synthetic, "USERS", 60)
    monkeypatch.setattr(synthetic, "TOPICS", 6)
    synthetic.write(tmp_path / "data", seed=1)
    small = ["--epochs=2", "--hidden_size=16", "--inner_size=32", f"--data_path={tmp_path / 'data'}"]

    def experiment(name, *arguments, table=None):
        output = tmp_path / "results"
        status = command.main([name, "--seeds", "1", "2", f"--output={output}", *small, *arguments])
        assert status == 0
        table = output / (table or f"{name}-synthetic")
        with open(table.with_suffix(".csv"), newline="") as file:
            header, *rows = csv.reader(file)
        markdown = table.with_suffix(".md").read_text()
        assert all(value in markdown for row in rows for value in row)
        return header, rows, output

    return experiment


def records_of(output, **values):
    """The records whose settings, or fields beside them, have these ``values``."""
    every_record = [json.loads(file.read_text()) for file in sorted((output / "records").iterdir())]
    return [record for record in every_record if {**record, **record["settings"]}.items() >= values.items()]


def spread_of(records, metric, split="test"):
    """The cell of a table for these records."""
    return spread([record[split][metric] for record in records])


def test_table1_sets_the_papers_figures_beside_ours(run, capsys, monkeypatch):
    monkeypatch.setattr(progress, "TELL_EVERY", 0)
    header, rows, output = run("table1", "--train")
    assert header == ["", "HR@3", "paper", "difference", "NDCG@3", "paper", "difference", "epoch", "seeds"]
    assert [row[0] for row in rows] == ["control", "random", "oracle"]
    assert [row[2] for row in rows] == ["", "0.3560", "0.5180"]
    assert [row[5] for row in rows] == ["", "0.2573", "0.3645"]
    by_row = [{"lambda": 0}, {"model": "CL4SRec", "mu_m": 0.4}, {"model": "EC4SRecSSL"}]
    for row, values in zip(rows, by_row):
        one, two = of_row = records_of(output, **values)
        assert (one["seed"], two["seed"]) == (1, 2) and row[8] == "1, 2"
        assert row[7] == f"{one['best_epoch']}, {two['best_epoch']}"
        assert (row[1], row[4]) == (spread_of(of_row, "hit@3"), spread_of(of_row, "ndcg@3"))
    ours = np.mean([record["test"]["hit@3"] for record in records_of(output, model="EC4SRecSSL")])
    assert rows[2][3] == f"{ours - 0.5180:+.4f}"
    shown, told = capsys.readouterr()
    assert "5 done, 1 running, 0 waiting; at most 0 h 00 min left\n  oracle, synthetic, seed 2: epoch 2" in told
    assert "oracle, synthetic, seed 2: to be trained" in told
    assert "Differences, synthetic" in shown and "| oracle | random | NDCG@3 |" in shown
    assert len(list((output / "records").iterdir())) == 6


def test_tables_are_printed_from_the_records_alone(run, capsys, monkeypatch):
    trained = run("table1", "--train")
    capsys.readouterr()
    monkeypatch.setattr(training, "Training", None)  # nothing can be trained
    assert run("table1") == trained
    assert run("table1", "--train") == trained  # nothing is missing
    told = capsys.readouterr().err
    assert "oracle, synthetic, seed 2: recorded" in told and "[1 of" not in told
    _, rows, _ = run("table1", "--rows", "oracle")
    assert [row[0] for row in rows] == ["oracle"]


def test_without_records_nothing_is_trained(run, capsys, tmp_path):
    run("table1")
    assert "table1: no record of synthetic" in capsys.readouterr().out
    assert not (tmp_path / "results" / "records").exists()


def test_table2_counts_the_data(run):
    header, rows, _ = run("table2", "--datasets", "synthetic", table="table2")
    assert header[:4] == ["", "users", "paper", "items"]
    assert rows[0][:2] == ["synthetic", "60"] and rows[0][5] == str(60 * 13)


@pytest.mark.parametrize("name", [name for name in PLANS if name != "table1"])
def test_every_table_and_figure_is_made_from_its_runs(name, run):
    rows = {"table3": ["BPR", "EC4SRec"], "table4": ["EC4SRec, Caser"], "table5": ["CL4SRec, no crop"]}
    rows["guidance"] = ["EC4SRec, random", "EC4SRec, occlusion"]
    chosen = rows.get(name, [row.label for row in PLANS[name].rows[-2:]])
    schedule = [] if name in ("figure3", "figure4") else ["--num_updates=1"]
    _, table, output = run(
        name,
        "--train",
        "--datasets",
        "synthetic",
        "--rows",
        *chosen,
        "--epochs=11",
        "--MAX_ITEM_LIST_LENGTH=5",
        *schedule,
    )
    assert [row[0] for row in table] == chosen and all(row[1] for row in table)
    if PLANS[name].figure:
        assert (output / f"{name}-synthetic.png").read_bytes().startswith(b"\x89PNG")
    if name == "figure3":
        with open(output / "figure3-synthetic-curves.csv", newline="") as file:
            _, *points = csv.reader(file)
        assert [point[:3] for point in points[:3]] == [
            [chosen[0], "1", "1"],
            [chosen[0], "1", "2"],
            [chosen[0], "1", "3"],
        ]
        assert len(points) == 2 * 2 * 11


def test_a_run_is_shared_by_the_tables_and_figures_that_ask_for_it():
    runs = {name: PLANS[name].runs("amazon-beauty", [1], {}) for name in ("table3", "figure3", "figure4", "figure5")}
    for p in (1, 2, 5):
        (curve,), (point,) = runs["figure3"][f"EC4SRec, p = {p}"], runs["figure4"][f"EC4SRec, p = {p}"]
        assert curve.name == point.name
    names = [runs[name][label][0].name for name, label in (("table3", "EC4SRec"), ("figure3", "EC4SRec, p = 5"))]
    assert names == [runs["figure5"]["L_cl+ + L_cl- + L_sl+"][0].name] * 2


def test_runs_that_differ_from_the_first_update_on_share_the_epochs_before_it(run, tmp_path, monkeypatch):
    arguments = ["table3", "--train", "--datasets", "synthetic", "--epochs=8", "--num_updates=3"]
    explained = ["--explainer=random", "--mu_e=0.7"]

    def kept(work, *more):
        _, _, output = run(*arguments, f"--work={work}", *more)
        records = {file.name: json.loads(file.read_text()) for file in (output / "records").iterdir()}
        shutil.rmtree(output)
        for record in records.values():
            for part in (record, *record["epochs"]):
                del part["seconds"]
        return records

    trained, train_epoch = [], EC4SRecTrainer._train_epoch

    def counted(self, data, epoch, **options):
        trained.append(epoch)
        return train_epoch(self, data, epoch, **options)

    monkeypatch.setattr(EC4SRecTrainer, "_train_epoch", counted)
    alone = {}
    unguided = ["--num_updates=0"]
    for number, rows in enumerate([["EC4SRec"], ["EC4SRec(SL)"], ["EC4SRec", *explained], ["EC4SRec", *unguided]]):
        alone.update(kept(tmp_path / f"work{number}", "--rows", *rows))
    assert trained == 2 * 4 * list(range(8))
    trained.clear()
    together = kept(tmp_path / "work", "--rows", "EC4SRec", "EC4SRec(SL)")
    for settings in (explained, unguided):
        together.update(kept(tmp_path / "work", "--rows", "EC4SRec", *settings))
    assert len(together) == 8 and together == alone
    assert trained == 2 * list(range(8)) + 6 * list(range(1, 8))


def test_a_warm_up_is_taken_over_on_the_same_data_by_the_same_code_alone(run, tmp_path, monkeypatch):
    trained, train_epoch = [], EC4SRecTrainer._train_epoch

    def counted(self, data, epoch, **options):
        trained.append(epoch)
        return train_epoch(self, data, epoch, **options)

    monkeypatch.setattr(EC4SRecTrainer, "_train_epoch", counted)
    work = tmp_path / "work"

    def first_epochs(row):
        trained.clear()
        run(
            "table3",
            "--train",
            "--datasets=synthetic",
            "--rows",
            row,
            "--num_updates=1",
            "--epochs=4",
            f"--work={work}",
        )
        return [epoch for epoch in trained if epoch == 0]

    assert first_epochs("EC4SRec") == [0, 0]  # of two seeds
    assert first_epochs("EC4SRec(SL)") == []
    models = [load_checkpoint(file)["config"]["model"] for file in sorted(work.glob("*EC4SRecSL-*.pth"))]
    assert models == ["EC4SRecSL"] * 4  # under two protocols
    synthetic.write(tmp_path / "data", seed=2)
    assert first_epochs("EC4SRec(SSL)") == [0, 0]
    shutil.rmtree(tmp_path / "results")
    monkeypatch.setattr(warmup, "_code", lambda: "of another commit")
    assert first_epochs("EC4SRec(SL)") == [0, 0]


@pytest.mark.parametrize(
    ("scores", "bigger", "ended"),
    [
        ([0.1, 0.2, 0.2, 0.1], True, False),  # as good again is better
        ([0.1, 0.2, 0.1, 0.1], True, False),
        ([0.2, 0.1, 0.1, 0.1, 0.3], True, True),  # what would have come later is too late
        ([0.2, 0.1, 0.1, 0.1], False, False),
        ([0.1, 0.2, 0.2, 0.2], False, True),
    ],
)
def test_a_run_without_updates_takes_no_warm_up_that_its_patience_of_two_would_have_ended(scores, bigger, ended):
    trainer = SimpleNamespace(valid_metric="ndcg@10", valid_metric_bigger=bigger, stopping_step=2)
    assert warmup.has_ended([{"valid": {"ndcg@10": score}} for score in scores], trainer) == ended


def test_the_search_varies_one_setting_at_a_time():
    runs = {name: PLANS[name].runs("amazon-beauty", [1], {}) for name in ("search", "table3", "figure6")}
    labels = [label for label in runs["search"] if label.split(",")[0] in ("DuoRec", "EC4SRec(SL)")]
    lambdas = [f"EC4SRec(SL), lambda_sl_pos {value}" for value in (0.2, 0.3, 0.4, 0.5)]
    assert [label for label in labels if "SL" in label] == [
        "EC4SRec(SL)",
        "EC4SRec(SL), tau 0.5",
        "EC4SRec(SL), tau 1.5",
        *lambdas,
    ]
    assert {"DuoRec, tau 0.5", "DuoRec, lambda 0.5"} < set(labels)
    ((paper,), (varied,)) = (runs["search"][label] for label in ("EC4SRec", "EC4SRec, tau 1.5"))
    assert {key for key in varied.settings if varied.settings[key] != paper.settings.get(key)} == {"tau"}
    (varied,) = runs["search"]["EC4SRec without L_cl+, mu_e 0.3"]
    assert (varied.settings["lambda_cl_pos"], varied.settings["mu_e"]) == (0, 0.3)
    assert not any(label.startswith("EC4SRec without L_cl+, lambda_cl_pos") for label in runs["search"])
    for label, name, shared in (("EC4SRec", "table3", "EC4SRec"), ("EC4SRec, mu_e 0.7", "figure6", "EC4SRec, μ_e .7")):
        assert runs["search"][label][0].name == runs[name][shared][0].name


def test_every_model_has_the_same_budget_in_one_space_and_its_own_keys():
    of_row = {}
    for row in PLANS["budget"].rows:
        of_row.setdefault(row.label.rpartition(", point ")[0], []).append(row.settings)
    assert list(of_row) == ["control", "CL4SRec", "EC4SRec(SSL)", "DuoRec", "EC4SRec(SL)", "EC4SRec"]
    shared = ("hidden_size", "hidden_dropout_prob", "attn_dropout_prob", "learning_rate")
    assert {tuple(tuple(point[key] for key in shared) for point in points) for points in of_row.values()} == {
        tuple(tuple(point[key] for key in shared) for point in of_row["control"])
    }
    assert {len({json.dumps(point) for point in points}) for points in of_row.values()} == {12}
    own = {label: set(points[0]) - set(shared) for label, points in of_row.items()}
    assert own["control"] == {"lambda"} and {point["lambda"] for point in of_row["control"]} == {0}
    assert own["DuoRec"] == {"tau", "lambda", "sim"} and own["EC4SRec(SL)"] == {"tau", "lambda_sl_pos", "sim"}
    assert own["EC4SRec"] == {"mu_e", "tau", "lambda_cl_pos", "lambda_cl_neg", "lambda_sl_pos", "sim"}


def test_the_search_is_of_the_validation_set(run, tmp_path, monkeypatch):
    labels = ["CL4SRec, lambda 0.3", "CL4SRec, lambda 0.5"]
    header, rows, output = run("search", "--train", "--datasets=synthetic", "--rows", *labels)
    assert header == ["", "NDCG@10", "HR@10", "epoch", "seeds"] and [row[0] for row in rows] == labels
    ours = records_of(output, **{"lambda": 0.3})
    assert rows[0][1] == spread_of(ours, "ndcg@10", "valid") != spread_of(ours, "ndcg@10")
    monkeypatch.setattr(training, "Training", None)
    _, rows, _ = run("search", "--datasets=synthetic")
    assert [row[0] for row in rows] == labels  # of the others there is no record
    run("results", f"--page={tmp_path / 'results.md'}", table="search-synthetic")
    assert "synthetic, validation set" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize("file", sorted((ROOT / "properties" / "tuned").glob("*/*.yaml")), ids=lambda file: file.stem)
def test_what_is_chosen_is_the_best_of_the_search_on_validation(file):
    model, dataset = file.stem, file.parent.name
    (row,) = (row for row in PLANS["table3"].rows if row.tuned == model)
    searched = [run for (run,) in PLANS["search"].runs(dataset, [1], {}).values() if run.model == model]
    tried = [(run, records.read(ROOT / "results", run)) for run in searched]
    best, _ = max((pair for pair in tried if pair[1]), key=lambda pair: pair[1]["valid"]["ndcg@10"])
    assert row.run(dataset, 1, {}).name == best.name


def test_a_row_is_tuned_where_something_has_been_chosen():
    assert "EC4SRec, tuned" in PLANS["table3"].runs("amazon-beauty", [1], {})
    assert not any("tuned" in label for label in PLANS["table3"].runs("synthetic", [1], {}))


def test_the_page_of_results_has_what_there_are_records_of(run, tmp_path, monkeypatch):
    run("table1", "--train")
    run("table2", "--datasets", "synthetic", table="table2")
    monkeypatch.setattr(training, "Training", None)
    page = tmp_path / "docs" / "results.md"
    run("results", f"--page={page}", table="table1-synthetic")
    text = page.read_text()
    table = (tmp_path / "results" / "table1-synthetic.md").read_text()
    assert table.split("\n", 2)[2] in text and "| oracle | random | HR@3 |" in text and "Table 2: data sets" in text
    assert "Figure" not in text
    with open(tmp_path / "results" / "points.csv", newline="") as file:
        points = list(csv.DictReader(file))
    assert len(points) == 3 * 2 * 2  # rows, seeds and protocols
    oracle = next(point for point in points if "oracle" in point["settings"] and point["ranked"] == "all items ranked")
    (record,) = records_of(tmp_path / "results", model="EC4SRecSSL", seed=int(oracle["seed"]))
    assert [float(oracle["valid ndcg@3"]), float(oracle["test hit@3"])] == [
        record["valid"]["ndcg@3"],
        record["test"]["hit@3"],
    ]
    assert "hidden_size" in json.loads(oracle["settings"]) and "valid_metric" in json.loads(oracle["settings"])


def test_s3rec_is_pretrained_on_attributes_and_refused_without(run, tmp_path, capsys):
    arguments = ["table3", "--train", "--datasets", "synthetic", "--rows", "S3Rec", "--pretrain_epochs=2"]
    _, rows, output = run(*arguments)
    assert rows[0][1] == "" and not (output / "records").exists()
    assert (
        "not trained: S3Rec predicts attributes of items: synthetic.item needs item_id and class"
        in capsys.readouterr().err
    )
    items = {line[1] for line in read(tmp_path / "data")[1]}
    classes = "".join(f"{item}\tc{len(item)} c{item[-1]}\n" for item in sorted(items))
    (tmp_path / "data" / "synthetic" / "synthetic.item").write_text("item_id:token\tclass:token_seq\n" + classes)
    _, rows, output = run(*arguments)
    both = records_of(output, model="S3Rec")
    assert len(both) == 2 and rows[0][1] == spread_of(both, "hit@5")
    assert {file.suffix for file in (tmp_path / "saved" / "experiments").iterdir()} == {".pth"}


def test_labels_of_a_plan_are_distinct_and_the_papers():
    for plan in PLANS.values():
        labels = [row.label for row in plan.rows]
        assert len(set(labels)) == len(labels)
        printed = {label for numbers in plan.paper.values() for label, _ in numbers}
        assert printed <= set(labels)
        assert plan.control is None or plan.control in labels


def test_recovery_ranks_explainers_by_the_important_items(run):
    _, rows, _ = run("recovery", table="recovery")
    assert {row[0] for row in rows} >= {"random", "occlusion", "saliency", "integrated_gradients", "attention"}
    assert {row[1] for row in rows} == {"predicted", "next"}
    assert {tuple(map(len, (row[2].split(" ± "), row[3].split(" ± ")))) for row in rows} == {(2, 2)}  # of two seeds


def test_precision_and_reciprocal_rank_by_hand():
    important = torch.tensor([[1, 0, 0, 1, 1], [0, 0, 1, 1, 1]]).bool()
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.7, 0.0], [0.9, 0.8, 0.7, 0.1, 0.2]])
    # The first three are items 1, 2, 4, of which two are important, and items 1, 2, 3, of which the third is.
    assert precision_and_reciprocal_rank(scores, important) == pytest.approx(((2 + 1) / 6, (1 + 1 / 3) / 2))


def test_faithfulness_writes_a_table_the_curves_and_a_figure(run):
    arguments = ["--datasets=synthetic", "--backbone=GRU4Rec", "--hidden_act=gelu"]
    _, rows, output = run("faithfulness", *arguments)
    assert [row[0] for row in rows] == [
        "random",
        "occlusion",
        "saliency",
        "integrated_gradients",
        "captum:InputXGradient",
    ]
    assert {len(row) for row in rows} == {6}
    with open(output / "faithfulness-synthetic_curves.csv", newline="") as file:
        header, *curves = csv.reader(file)
    assert header[2:] == [str(step / 10) for step in range(11)]
    assert len(curves) == 2 * len(rows)
    assert (output / "faithfulness-synthetic.png").read_bytes().startswith(b"\x89PNG")


def test_diagnosis_sets_the_models_side_by_side(run):
    schedule = ["--num_updates=1", "--epochs=2"]
    header, rows, output = run("diagnosis", "--datasets", "synthetic", *schedule, table="diagnosis-views-synthetic")
    assert [row[0] for row in rows] == ["control", "CL4SRec", "EC4SRec(SSL)", "DuoRec", "EC4SRec(SL)", "EC4SRec"]
    views = [{name for name, cell in zip(header[1:], row[1:]) if cell} - {"another anchor"} for row in rows]
    ssl, sl = {"cl_pos_1", "cl_pos_2", "cl_neg"}, {"sl_pos"}
    assert views == [set(), {"cl_1", "cl_2"}, ssl, {"sl"}, sl, ssl | sl]
    trained = {file: file.read_bytes() for file in (output / "records").iterdir()}
    again = run("diagnosis", "--datasets", "synthetic", *schedule, table="diagnosis-views-synthetic")
    assert (header, rows) == again[:2]  # from the models that were kept
    assert trained == {file: file.read_bytes() for file in (output / "records").iterdir()}


def test_shuffle_compares_changed_histories_with_those_as_they_are(run):
    arguments = ["--datasets=synthetic", "--rows", "control", "CL4SRec"]
    _, rows, output = run("shuffle", *arguments)
    assert [row[:3] for row in rows] == [
        [label, ranked, histories]
        for label in ("control", "CL4SRec")
        for ranked in ("all items ranked", "without seen items")
        for histories in ("as they are", "all but the last item shuffled", "the last item alone")
    ]
    control = [record for record in records_of(output, model="CL4SRec") if record["settings"].get("lambda") == 0]
    for place, of_protocol in ((0, control), (3, [record["unseen"] for record in control])):
        expected = [np.mean([part["test"][metric] for part in of_protocol]) for metric in ("ndcg@10", "hit@10")]
        found = [float(cell.split(" ± ")[0]) for cell in rows[place][3:5]]
        assert found == pytest.approx(expected, abs=1.1e-4)  # RecBole's metrics have four digits
    for row, as_it_is in zip(rows, np.repeat(rows[::3], 3, axis=0)):
        if row[2] == "as they are":
            assert row[5:] == ["", "", ""]
        else:
            difference = float(row[3].split(" ± ")[0]) - float(as_it_is[3].split(" ± ")[0])
            assert float(row[5]) == pytest.approx(difference, abs=2e-4) and 0 <= float(row[7]) <= 1


def test_models_that_are_trained_on_sequences_have_files_of_their_own(run):
    arguments = ["--datasets=synthetic", "--train_on=sequences", "--num_updates=1", "--epochs=2"]
    of_prefixes = {"shuffle-synthetic.csv", "diagnosis-views-synthetic.csv", "faithfulness-synthetic.csv"}
    for name, *rows in (["shuffle"], ["diagnosis", "--rows", "control"], ["faithfulness"]):
        table = f"{name}{'-views' * (name == 'diagnosis')}-synthetic-sequences"
        _, _, output = run(name, *arguments, *rows, table=table)
        assert ", trained on sequences" in (output / f"{table}.md").read_text(encoding="utf-8")
    assert of_prefixes.isdisjoint(file.name for file in output.iterdir())


def test_a_pair_of_guidance_is_an_explainer_and_random_importance_with_the_same_options():
    rows = {row.label: row for row in PLANS["guidance"].rows}
    assert len(PLANS["guidance"].pairs) == 25
    for guided, at_random in PLANS["guidance"].pairs:
        settings, control = rows[guided].settings, rows[at_random].settings
        assert control["explainer"] == "random" and settings.get("explainer") != "random"
        assert {**settings, "explainer": "random"} == control


def test_status_counts_trainings_and_tells_the_time_that_is_left(run, tmp_path, monkeypatch, capsys):
    work = tmp_path / "work"
    small = ["--datasets=synthetic", f"--work={work}"]
    run("table1", "--train", *small, "--rows", "random")
    (first, second) = records_of(tmp_path / "results")
    settings = {**first["settings"], "data_path": str(tmp_path / "data")}

    def killed(trainer):
        raise KeyboardInterrupt

    (begun,) = PLANS["table1"].runs("synthetic", [1], settings, ["oracle"])["oracle"]
    with pytest.raises(KeyboardInterrupt):
        training.record(begun, tmp_path / "results", work, killed)

    def lines(*arguments):
        capsys.readouterr()
        given = [f"--{key}={json.dumps(value)}" for key, value in settings.items()]
        command.main(["status", *small, f"--output={tmp_path / 'results'}", "--seeds", "1", "2", *given, *arguments])
        printed = capsys.readouterr()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.out.splitlines()[2:]]
        return {cells[0]: cells[1:] for cells in cells}, printed.err

    table, told = lines()
    assert table.keys() == {"table1", "all"}  # no other is of the synthetic data
    assert table["table1"] == ["synthetic", "6", "2", "1", "0", "3", table["table1"][-1]]
    expected = 4 * (first["seconds"] + second["seconds"]) / 2 / 3600
    assert float(table["table1"][-1]) == pytest.approx(expected, abs=0.06)
    assert "running: oracle, synthetic, seed 1: epoch 1, 0.0 h" in told
    (state,) = work.glob("*.state")
    os.utime(state, (0, 0))
    assert lines()[0]["table1"][2:5] == ["2", "0", "1"]
    assert lines("--train_on=sequences")[0]["table1"][-1] == "6 trainings unlike any before"
    of_own_data = lines("--datasets", "own")[0]
    assert of_own_data.keys() == {*PLANS, "all"} and of_own_data["table1"][:2] == ["own", "6"]


def test_alignment_and_uniformity_are_those_of_the_formula(experiment):
    small = experiment(num_updates=0, update_epochs=[])
    model = small.model.eval()
    batch = next(iter(small.train_data)).with_views()
    found = representations(model, [batch])
    sequences = model(batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN]).detach()
    items = model.backbone.item_vectors().detach()[1 : 1 + len(sequences)]
    following = model.backbone.item_vectors().detach()[batch[model.POS_ITEM_ID]]
    on_sphere = [points / points.norm(dim=1, keepdim=True) for points in (sequences, items, following)]
    distance = [float((a - b).pow(2).sum()) for a, b in zip(on_sphere[0], on_sphere[2])]
    assert found["alignment"] == pytest.approx(np.mean(distance), rel=1e-4)
    for name, points in zip(("sequences", "items"), on_sphere):
        pairs = [np.exp(-2 * float((a - b).pow(2).sum())) for i, a in enumerate(points) for b in points[:i]]
        assert found[f"uniformity of {name}"] == pytest.approx(np.log(np.mean(pairs)), rel=1e-3)
    assert found["length of sequences"] == pytest.approx(float(sequences.norm(dim=1).mean()), rel=1e-4)


def test_similarities_are_cosines_to_the_anchor(experiment):
    small = experiment()
    small.trainer.update_importance(small.train_data)
    model = small.model.eval()
    batches = [batch.with_views() for batch, _ in zip(small.train_data, range(2))]
    found = similarities(model, batches)
    names = {"cl_pos_1", "cl_pos_2", "cl_neg", "sl_pos", "another anchor"}
    assert found.keys() == names
    expected = {name: [] for name in names}
    for batch in batches:
        with torch.no_grad():
            vectors = {view: model.encode(batch, [view])[view].numpy() for view in ("", *(names - {"another anchor"}))}
        unit = {view: rows / np.linalg.norm(rows, axis=1, keepdims=True) for view, rows in vectors.items()}
        unit["another anchor"] = np.roll(unit[""], 1, axis=0)
        for name in names:
            cosine = (unit[""] * unit[name]).sum(1)
            rows = batch["cl_neg_valid"].numpy() if name == "cl_neg" else slice(None)
            expected[name].append(cosine[rows].mean())
    assert found == pytest.approx({name: np.mean(values) for name, values in expected.items()}, abs=1e-5)


def test_the_command_tells_what_it_can_run(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["--help"])
    listed = {
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and line.split()
    }
    assert end.value.code == 0 and {*PLANS, *command.OTHERS} <= listed


def test_a_mistake_ends_in_one_line_and_status_1(run, tmp_path, capsys):
    arguments = ["table1", "--train", "--mu_m=7", f"--data_path={tmp_path / 'data'}", f"--output={tmp_path}"]
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: mu_m: got 7")
    with pytest.raises(SystemExit):
        command.main(["table1", "epochs=3"])
    assert "got epochs=3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, allowed",
    [
        ("table1", "allowed are 'control', 'random', 'oracle'"),
        ("trec", "allowed are 'BPR', 'GRU4Rec', "),
        ("diagnosis", "allowed are 'control', 'CL4SRec', "),
        ("shuffle", "allowed are 'control', 'CL4SRec', "),
        ("faithfulness", "faithfulness has no rows to choose from"),
        ("results", "results has no rows to choose from"),
    ],
)
def test_an_unknown_row_is_refused_with_those_that_there_are(name, allowed, capsys):
    with pytest.raises(SystemExit):
        command.main([name, "--rows", "nobody"])
    assert f"--rows: got 'nobody', {allowed}" in capsys.readouterr().err


def test_a_spread_is_the_mean_and_the_standard_deviation():
    assert spread([0.25]) == "0.2500"
    assert spread([0.1, 0.2, 0.3]) == "0.2000 ± 0.1000"


def test_a_record_has_the_commit_marked_where_the_package_differs_from_it(tmp_path):
    package, properties, other = (tmp_path / name for name in ("package", "properties", "docs"))
    for folder in (package, package / "training", properties, other):
        folder.mkdir()
        (folder / "file").write_text("as committed")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    clean = records.commit((package, properties))
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (other / "file").write_text("changed")
    assert records.commit((package, properties)) == clean
    for changed in (package / "training" / "file", properties / "file", package / "new.py"):
        before = changed.read_text() if changed.is_file() else None
        changed.write_text("changed")
        assert records.commit((package, properties)) == f"{clean}+"
        changed.unlink() if before is None else changed.write_text(before)
    assert records.commit((package, properties)) == clean


def test_in_a_repository_that_the_package_only_lies_in_a_record_has_no_commit(tmp_path):
    package = tmp_path / "environment" / "package"
    package.mkdir(parents=True)
    (package / "file").write_text("installed")
    (tmp_path / ".gitignore").write_text("environment/\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "theirs"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    assert records.commit((package,)) is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "--eval_args={split: {LS: valid_and_test}, order: TO, mode: uni20}",
            "error: eval_args: got mode 'uni20', allowed in an experiment is full",
        ),
        ("--eval_step=0", "error: eval_step: got 0, allowed in an experiment is 1 or more"),
    ],
)
def test_an_evaluation_that_makes_no_record_is_refused_before_training(run, capsys, setting, message):
    with pytest.raises(SystemExit):
        run("table5", setting, "--train", "--datasets=synthetic", "--rows", "CL4SRec")
    assert message in capsys.readouterr().err


def test_loaders_that_do_not_know_what_users_had_are_refused(run, tmp_path, capsys):
    saved = tmp_path / "saved"
    given = ["--num_updates=1", f"--checkpoint_dir={saved}"]
    rows = ["--train", "--datasets=synthetic", "--rows", "DuoRec"]
    (duorec,) = PLANS["table3"].runs("synthetic", [1], {})["DuoRec"]
    settings = {**duorec.settings, "epochs": 2, "hidden_size": 16, "inner_size": 32, "seed": 1}
    where = {"data_path": str(tmp_path / "data"), "checkpoint_dir": str(saved), "save_dataloaders": True}
    recbole_ec4srec.run("DuoRec", "synthetic", config_dict={**settings, **where})
    with pytest.raises(SystemExit):
        run("table3", *given, *rows)
    assert "dataloaders_save_path: synthetic has loaders that save_dataloaders left" in capsys.readouterr().err


def test_a_metric_that_was_not_asked_for_is_an_empty_cell(run):
    of_five = ["--topk=[5]", "--valid_metric=NDCG@5", "--num_updates=1"]
    _, rows, _ = run("figure5", "--train", "--datasets=synthetic", "--rows", "CL4SRec", *of_five)
    assert [row[1] != "" for row in rows if row[0] == "CL4SRec"] == [True]
    _, rows, _ = run("search", "--datasets=synthetic", "--rows", "CL4SRec", *of_five)
    assert [row[:3] for row in rows] == [["CL4SRec", "", ""]]


def test_one_epoch_can_be_given_for_the_updates(run):
    arguments = ["--datasets=synthetic", "--rows", "EC4SRec, random", "EC4SRec, saliency"]
    run("guidance", "--train", *arguments, "--update_epochs=2")


def test_no_two_rows_of_table_4_are_the_same_run():
    runs = [run.name for (run,) in PLANS["table4"].runs("amazon-beauty", [1], {}).values()]
    assert len(set(runs)) == len(runs) == 18
