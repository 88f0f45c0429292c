"""``repeatable: False``: the items that the user has had before the target are not ranked."""

import math

import pandas as pd
import pytest
import torch

from recbole_ec4srec.data.seen import History, leaves_out_seen

MODELS = ["EC4SRec", "SASRec", "GRU4Rec", "Caser", "BERT4Rec"]


def test_a_history_is_all_that_came_before():
    history = History(torch.tensor([1, 1, 1, 2, 2]), torch.tensor([7, 8, 7, 9, 6]), n_users=3)
    row, item = history.before(torch.tensor([2, 1, 1]), torch.tensor([1, 2, 0]))
    assert row.tolist() == [0, 1, 1]
    assert item.tolist() == [9, 7, 8]


def looped(run, loader, k=10):
    """Hit and NDCG at ``k`` of users one by one, from the file: each target among the items not had before it."""
    dataset, model = run.dataset, run.model.eval()
    file = f"{run.config['data_path']}/tiny.inter"
    rows = pd.read_csv(file, sep="\t").sort_values("timestamp:float", kind="stable")
    hits, gains = [], []
    for batch, _, _, _ in loader:
        for number in range(len(batch)):
            one = batch[torch.tensor([number])]
            user = dataset.id2token("user_id", int(one["user_id"]))
            items = dataset.token2id("item_id", rows["item_id:token"][rows["user_id:token"] == user].tolist()).tolist()
            n_after = 2 if loader is run.valid_data else 1
            history, target = items[:-n_after], items[-n_after]
            assert target == int(one["item_id"])
            scores = model.full_sort_predict(one).detach().reshape(-1).tolist()[: dataset.item_num]
            ranked = [i for i in range(1, dataset.item_num) if i == target or i not in history]
            place = sorted(ranked, key=lambda item: -scores[item]).index(target) + 1
            hits.append(place <= k)
            gains.append(1 / math.log2(place + 1) if place <= k else 0)
    return sum(hits) / len(hits), sum(gains) / len(gains)


@pytest.mark.parametrize("model", MODELS)
def test_metrics_are_those_of_a_loop_over_users(model, experiment):
    settings = {"repeatable": False, "MAX_ITEM_LIST_LENGTH": 5, "metrics": ["Hit", "NDCG"], "valid_metric": "NDCG@10"}
    settings["metric_decimal_place"] = 12
    run = experiment(model, **settings)
    run.model.eval()
    for loader in (run.valid_data, run.test_data):
        result = run.trainer.evaluate(loader, load_best_model=False)
        assert (result["hit@10"], result["ndcg@10"]) == pytest.approx(looped(run, loader))


def test_a_history_longer_than_the_window_is_left_out_whole(experiment):
    run = experiment("SASRec", repeatable=False, MAX_ITEM_LIST_LENGTH=3)
    dataset = run.dataset
    user = dataset.token2id("user_id", "all")  # i1, i2, …, i40
    for batch, (row, item), _, _ in run.test_data:
        mine = (batch["user_id"] == user).nonzero().flatten()
        if len(mine):
            left_out = set(dataset.id2token("item_id", item[row == mine].tolist()))
            assert left_out == {f"i{i}" for i in range(1, 40)}
            return
    raise AssertionError("the user is not evaluated")


@pytest.mark.parametrize("model", ["EC4SRec", "SASRec"])
def test_a_target_that_the_user_has_had_is_ranked(model, experiment):
    run = experiment(model, repeatable=False)
    user = run.dataset.token2id("user_id", "same")  # i5 six times
    for batch, (row, item), positive_u, positive_i in run.test_data:
        not_ranked = set(zip(row.tolist(), item.tolist()))
        assert not_ranked.isdisjoint(zip(positive_u.tolist(), positive_i.tolist()))
        assert not (row == (batch["user_id"] == user).nonzero().flatten()[:1]).any()


@pytest.mark.parametrize(
    ("repeatable", "left_out"), [(True, False), (1, False), (None, False), (False, True), (0, True)]
)
def test_what_a_value_of_repeatable_asks_for(repeatable, left_out):
    assert leaves_out_seen(repeatable) is left_out


def test_by_default_everything_is_ranked(experiment):
    assert all(batch[1] is None for batch in experiment("EC4SRec").test_data)
    assert all(batch[1] is None for batch in experiment("SASRec").test_data)
