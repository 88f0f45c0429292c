"""What each augmentation makes of one sequence, and what retrieval finds for it."""

from __future__ import annotations

import numpy as np
import torch

from recbole_ec4srec.config.objective import OPERATORS
from recbole_ec4srec.data import ImportanceTable
from recbole_ec4srec.data.augmentation import Importance
from recbole_ec4srec.data.operators import view_by
from recbole_ec4srec.data.retrieval import GuidedRetrieval, RandomRetrieval, SameTargetIndex
from recbole_ec4srec.errors import ConfigError, DataError
from recbole_ec4srec.explain import build_explainer
from recbole_ec4srec.model import EC4SRec

MASK = "[m]"


def augmentations(importance, settings, rng=None) -> dict:
    """Views of a sequence by every operator, random (section 3.2) and explanation guided (section 4.3).

    Args:
        importance: of its n items, ``[n]``, raw.
        settings: has the operators' ratios: ``mu_c``, ``mu_m``, ``mu_r``, ``mu_e`` and those of operators of your own.

    Returns:
        By operator n cells: the number (from 1) of the item that stands in each place, :data:`MASK`, or None in the
        places of items that it leaves out.
    """
    rng = rng or np.random.default_rng()
    score = torch.as_tensor(np.asarray(importance, dtype=np.float32)).unsqueeze(0)
    n = score.shape[1]
    sequence, mask_id = (torch.arange(1, n + 1).unsqueeze(0), torch.tensor([n])), n + 1
    views = {}
    for name, operator in OPERATORS.items():
        ranked = Importance.of(score, sequence[1], torch.from_numpy(rng.random((1, n))))
        noise = torch.from_numpy(rng.random((1, n + 1)))
        view, length = view_by(operator, sequence, ranked, settings, mask_id, noise)
        kept = view[0, : length[0]].tolist()
        if len(kept) < n:  # closed up to the left; shown where they came from
            views[name] = [place if place in kept else None for place in range(1, n + 1)]
        else:
            views[name] = [MASK if item == mask_id else item for item in kept]
    return views


def retrieved(trained, user: str, explainer: str | None = None, rng=None) -> dict:
    """The last training instance of a user, what matters in it, and what retrieval draws for it.

    Returns:
        ``sequence`` and ``next_item`` (external ids), ``importance`` (raw), and by ``rtrl`` and ``ertrl+`` the user and
        the sequence of an instance of another user with the same next item; None where there is none.

    Raises:
        ConfigError: the model is none of this package's.
        DataError: the user has no training instance.
    """
    model, config, dataset = trained.model, trained.config, trained.train_dataset
    if not isinstance(model, EC4SRec):
        raise ConfigError(f"views: got a {config['model']}, allowed is a model of this package")
    instances = dataset.inter_feat
    known = dataset.field2token_id[dataset.uid_field].get(user, 0)
    rows = (instances[dataset.uid_field] == known).nonzero(as_tuple=True)[0][-1:]
    if len(rows) == 0:
        raise DataError(f"user {user!r} has no training instance in {config['dataset']}")
    same_target = (instances[dataset.iid_field] == instances[dataset.iid_field][rows]).nonzero(as_tuple=True)[0]
    anchor = (same_target == rows).nonzero(as_tuple=True)[0]  # its row among those that have its next item
    explained = same_target if config["ertrl_score"] == "candidate" else rows
    given = (tensor.to(config["device"]) for tensor in dataset.instances(explained))
    importance = ImportanceTable(dataset.item_seq_len[same_target], dataset.max_item_list_len)
    scores = build_explainer(config, model, explainer).attribute(*given).cpu()
    importance.set_rows(anchor if explained is rows else torch.arange(len(same_target)), scores)
    fields = (instances[field][same_target] for field in (dataset.iid_field, dataset.uid_field))
    index = SameTargetIndex(*fields)
    guided = GuidedRetrieval(
        index,
        lambda of: dataset.item_sequences(same_target[of]),
        importance,
        dataset.item_num,
        config["ertrl_score"],
        config["ertrl_max_candidates"],
        rng or np.random.default_rng(),
    )

    def items_of(row):
        item_seq, length = dataset.item_sequences(row)
        return trained.items[item_seq[0, : int(length)].numpy()].tolist()

    found = {
        "sequence": items_of(rows),
        "next_item": trained.items[int(instances[dataset.iid_field][rows])],
        "importance": importance.rows(anchor)[0, : int(dataset.item_seq_len[rows])].tolist(),
    }
    for name, retrieval in (("rtrl", RandomRetrieval(index)), ("ertrl+", guided)):
        other = same_target[torch.from_numpy(retrieval.draw(anchor.numpy(), rng or np.random.default_rng()))]
        user_of = dataset.id2token(dataset.uid_field, int(instances[dataset.uid_field][other]))
        found[name] = None if bool(other == rows) else (user_of, items_of(other))
    return found
