"""Table 1: does it help to mask only what does not matter?"""

from __future__ import annotations

from recbole_ec4srec.experiments.running import Trained, spread, write_table

#: HR@3 and NDCG@3 of the paper.
PAPER = {"random": (0.3560, 0.2573), "oracle": (0.5180, 0.3645)}
#: 4 of 10 items are masked (section 3.3), both views by masking.
MASKING = {"augmentations": ["mask"], "metrics": ["Hit", "NDCG"], "topk": [3], "valid_metric": "NDCG@3"}
#: All epochs are trained, since nothing is learned in the first ones; the best on the validation set is tested.
TRAINING = {"epochs": 100, "stopping_step": 100}
RANDOM = ("CL4SRec", {"mu_m": 0.4})
ORACLE = (
    "EC4SRecSSL",
    {
        "explainer": "oracle",
        "oracle_scores": "important",
        "mu_e": 0.4,
        "lambda_cl_neg": 0,  # CL4SRec has no negative views
        "warmup": [],
        "num_updates": 0,
        "update_epochs": [1],
    },
)
CONTROL = ("CL4SRec", {"lambda": 0})


def table1(args) -> None:
    """CL4SRec on the synthetic data with random masking, with masking of unimportant items, and without contrast."""
    found = {}
    for name, (model, settings) in {"no contrast": CONTROL, "random": RANDOM, "oracle": ORACLE}.items():
        runs = [
            Trained(model, args.dataset or "synthetic", seed=seed, **TRAINING, **MASKING, **settings).test
            for seed in args.seeds
        ]
        found[name] = [[run[metric] for run in runs] for metric in ("hit@3", "ndcg@3")]
    rows = []
    for name, values in found.items():
        paper = [f"{value:.4f}" for value in PAPER[name]] if name in PAPER else ["", ""]
        rows.append([name, spread(values[0]), paper[0], spread(values[1]), paper[1]])
    write_table(
        args.output / "table1",
        ["masking", "HR@3", "paper", "NDCG@3", "paper"],
        rows,
        f"Table 1: CL4SRec on the synthetic data, test set, seeds {', '.join(map(str, args.seeds))}.",
    )
