"""What the paper prints: the figures that ours are set beside."""

from __future__ import annotations

METRICS = ("hit@5", "hit@10", "ndcg@5", "ndcg@10")
_MODELS = ("CL4SRec", "EC4SRec(SSL)", "DuoRec", "EC4SRec(SL)", "EC4SRec")


def _rows(labels, text: str) -> dict:
    """``{(label, metric): value}`` from lines of numbers, one line a metric of :data:`METRICS`, one column a label."""
    return {
        (label, metric): float(value)
        for metric, line in zip(METRICS, text.strip().splitlines())
        for label, value in zip(labels, line.split())
    }


_TABLE3 = ("BPR", "GRU4Rec", "Caser", "SASRec", "BERT4Rec", "S3Rec", *_MODELS)
#: Table 3 by data set.
TABLE3 = {
    "amazon-beauty": _rows(
        _TABLE3,
        """
        .0120 .0164 .0191 .0365 .0193 .0327 .0495 .0569 .0548 .0585 .0569
        .0299 .0365 .0335 .0627 .0401 .0591 .0810 .0853 .0832 .0867 .0862
        .0065 .0086 .0114 .0236 .0187 .0175 .0299 .0358 .0345 .0361 .0364
        .0122 .0142 .0160 .0281 .0254 .0268 .0401 .0450 .0436 .0455 .0458""",
    ),
    "amazon-clothing": _rows(
        _TABLE3,
        """
        .0067 .0095 .0049 .0168 .0125 .0163 .0187 .0201 .0196 .0205 .0209
        .0094 .0165 .0092 .0272 .0208 .0237 .0305 .0314 .0296 .0311 .0320
        .0052 .0061 .0029 .0091 .0075 .0101 .0104 .0113 .0112 .0115 .0119
        .0069 .0083 .0043 .0124 .0102 .0132 .0142 .0149 .0144 .0149 .0155""",
    ),
    "amazon-sports": _rows(
        _TABLE3,
        """
        .0092 .0137 .0121 .0218 .0176 .0157 .0277 .0323 .0310 .0317 .0331
        .0188 .0274 .0204 .0336 .0326 .0265 .0455 .0497 .0480 .0491 .0514
        .0053 .0096 .0076 .0127 .0105 .0098 .0167 .0201 .0191 .0194 .0203
        .0085 .0137 .0103 .0169 .0153 .0135 .0224 .0256 .0246 .0249 .0262""",
    ),
    "ml-1m": _rows(
        _TABLE3,
        """
        .0164 .0763 .0816 .1087 .0733 .1078 .1583 .1699 .1672 .1682 .1672
        .0354 .1658 .1593 .1904 .1323 .1952 .2423 .2543 .2507 .2526 .2533
        .0097 .0385 .0372 .0638 .0432 .0616 .0996 .1095 .1076 .1104 .1102
        .0158 .0671 .0624 .0910 .0619 .0917 .1267 .1368 .1345 .1375 .1380""",
    ),
}
#: MovieLens-100K is not in the paper: the authors' code reports these, each beside its control.
AUTHORS_ML100K = {
    ("CL4SRec", "hit@10"): 0.1273,
    ("CL4SRec", "ndcg@10"): 0.0617,
    ("EC4SRec(SSL)", "hit@10"): 0.1389,
    ("EC4SRec(SSL)", "ndcg@10"): 0.0642,
    ("DuoRec", "hit@10"): 0.1198,
    ("DuoRec", "ndcg@10"): 0.0602,
    ("EC4SRec(SL)", "hit@10"): 0.1315,
    ("EC4SRec(SL)", "ndcg@10"): 0.0633,
}


def _backbones(gru4rec: str, caser: str) -> dict:
    """Of Table 4, with ``<model>, <backbone>`` for labels."""
    return {
        (f"{label}, {backbone}", metric): value
        for backbone, text in (("GRU4Rec", gru4rec), ("Caser", caser))
        for (label, metric), value in _rows(_MODELS, text).items()
    }


#: Table 4 by data set.
TABLE4 = {
    "amazon-beauty": _backbones(
        """
        .0420 .0461 .0471 .0490 .0495
        .0640 .0674 .0689 .0717 .0745
        .0270 .0314 .0318 .0327 .0332
        .0341 .0382 .0388 .0401 .0412""",
        """
        .0185 .0228 .0207 .0262 .0269
        .0335 .0390 .0375 .0439 .0456
        .0108 .0137 .0129 .0161 .0172
        .0157 .0189 .0183 .0218 .0232""",
    ),
    "amazon-clothing": _backbones(
        """
        .0104 .0128 .0118 .0130 .0138
        .0180 .0213 .0193 .0201 .0218
        .0065 .0082 .0078 .0086 .0089
        .0089 .0109 .0102 .0108 .0115""",
        """
        .0058 .0064 .0053 .0064 .0065
        .0100 .0113 .0100 .0117 .0124
        .0036 .0039 .0031 .0039 .0041
        .0049 .0055 .0046 .0056 .0060""",
    ),
    "amazon-sports": _backbones(
        """
        .0244 .0253 .0259 .0273 .0276
        .0389 .0396 .0396 .0414 .0437
        .0154 .0167 .0163 .0173 .0182
        .0200 .0213 .0207 .0218 .0233""",
        """
        .0113 .0140 .0127 .0146 .0152
        .0191 .0244 .0215 .0240 .0266
        .0071 .0088 .0082 .0097 .0105
        .0096 .0121 .0110 .0127 .0139""",
    ),
}

#: Table 5: NDCG@5 of CL4SRec and of EC4SRec(SSL) without one of the operators.
TABLE5 = {
    dataset: {
        (f"{model}{without}", "ndcg@5"): value
        for model, values in zip(("CL4SRec", "EC4SRec(SSL)"), columns)
        for without, value in zip(("", ", no reorder", ", no mask", ", no crop"), values)
    }
    for dataset, columns in {
        "amazon-beauty": ((0.0299, 0.0307, 0.0311, 0.0282), (0.0358, 0.0344, 0.0350, 0.0353)),
        "amazon-clothing": ((0.0104, 0.0103, 0.0101, 0.0086), (0.0113, 0.0110, 0.0116, 0.0116)),
        "amazon-sports": ((0.0167, 0.0169, 0.0169, 0.0147), (0.0201, 0.0181, 0.0200, 0.0200)),
    }.items()
}

#: Table 1, on data of its own making that is not published.
TABLE1 = {
    "synthetic": {
        ("random", "hit@3"): 0.3560,
        ("random", "ndcg@3"): 0.2573,
        ("oracle", "hit@3"): 0.5180,
        ("oracle", "ndcg@3"): 0.3645,
    }
}
#: What section 5.3.4 says of Figure 6.
FIGURE6 = {
    "amazon-beauty": {("EC4SRec, μ_e .5", "ndcg@5"): 0.0364, ("EC4SRec, μ_e .9", "ndcg@5"): 0.0355},
    "amazon-clothing": {("EC4SRec, μ_e .2", "ndcg@5"): 0.0119, ("EC4SRec, μ_e .9", "ndcg@5"): 0.0112},
}
