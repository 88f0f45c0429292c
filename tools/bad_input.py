"""The messages for bad data and settings: ``python tools/bad_input.py > docs/errors.md`` writes the page.

Each row is a command on the folder ``dataset/shop`` and the message with which it ends, with status 1; … stands for
words of a library, which differ by version.
"""

from pathlib import Path

import key_values

from recbole_ec4srec.reporting.markdown import markdown_table

HEADER = "user_id:token\titem_id:token\ttimestamp:float"
ROWS = [f"u{user}\ti{(user + step) % 9}\t{step}" for user in range(8) for step in range(6)]
FILE = "dataset/shop/shop.inter"
SPLIT = f"{FILE}: the split {{'LS': 'valid_and_test'}} leaves no"
SPLIT_HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token"
LISTS = [
    f"u{row % 8}\t" + " ".join(f"i{(row + k) % 9}" for k in range(row % 3 + 1)) + f"\ti{row % 7}" for row in range(24)
]
TRAIN = "dataset/shop/shop.train.inter"
COLUMNS = "--load_col=None --benchmark_filename=\"['train','valid','test']\""
PRESPLIT = f"{COLUMNS} --alias_of_item_id=\"['item_id_list']\""
QUOTE = "has a field that begins with a quote and does not end with one on the same line; …"
ORACLE = "--update_epochs=[1] --explainer=oracle --oracle_scores=scores"


def shop(rows=ROWS, header=HEADER):
    return "\n".join([header, *rows]) + "\n"


def split(train, valid=("u1\ti1 i2\ti3",), test=("u2\ti4 i5\ti6",), header=SPLIT_HEADER):
    """Files that are split already, of lines of a user, a list of items and the next item."""
    parts = {"train": train, "valid": valid, "test": test}
    return {f"dataset/shop/shop.{part}.inter": shop(rows, header) for part, rows in parts.items() if rows}


def scores(rows):
    return {FILE: shop(), "scores": "\n".join(["user\titem\tscore", *rows]) + "\n"}


# (what is wrong, files in the place of a good shop.inter, arguments, message)
DATA = [
    (
        "a data set that is not there",
        {},
        "--dataset=shops",
        "dataset: got 'shops', but there is no folder dataset/shops with shops.inter in it; set data_path if it is "
        "elsewhere",
    ),
    (
        "one that RecBole would download",
        {},
        "--dataset=lastfm",
        "dataset: got 'lastfm', but there is no folder dataset/lastfm with lastfm.inter in it; set data_path if it is "
        "elsewhere; nothing is downloaded, RecBole has it at …",
    ),
    ("no file of interactions", {FILE: None}, "", f"dataset/shop: File {FILE} not exist."),
    ("an empty file", "", "", f"{FILE}: line 1 has '', allowed is name:type, separated by '\\t' (field_separator), …"),
    (
        "columns without types",
        shop(header="user_id\titem_id\ttimestamp"),
        "",
        f"{FILE}: line 1 has 'user_id', allowed is name:type, separated by '\\t' (field_separator), with one of the "
        "types token, float, token_seq, float_seq",
    ),
    ("an unknown type", shop(header=HEADER.replace("float", "int")), "", f"{FILE}: line 1 has 'timestamp:int', …"),
    (
        "a column twice",
        shop([row + "\ti1" for row in ROWS], HEADER + "\titem_id:token"),
        "",
        f"{FILE}: line 1 has 'item_id' 2 times, allowed is once",
    ),
    ("another separator", shop().replace("\t", ","), "", f"{FILE}: line 1 has 'user_id:token,item_id:token,…"),
    (
        "a column missing",
        shop(["u1\t1"] * 9, "user_id:token\ttimestamp:float"),
        "",
        f"ITEM_ID_FIELD: got 'item_id', but what is loaded of {FILE} is user_id, timestamp; see its first line and "
        "load_col",
    ),
    (
        "no timestamps",
        shop([row.rpartition("\t")[0] for row in ROWS], HEADER.rpartition("\t")[0]),
        "",
        f"TIME_FIELD: got 'timestamp', but what is loaded of {FILE} is user_id, item_id; see its first line and "
        "load_col",
    ),
    (
        "timestamps of the wrong type",
        shop(header=HEADER.replace("float", "token")),
        "",
        f"{FILE}: timestamp has the type token, allowed is float",
    ),
    (
        "a timestamp that is no number",
        shop([*ROWS, "u1\ti1\tnoon"]),
        "",
        f"{FILE}: line 50 has 'noon' as timestamp, allowed is a number",
    ),
    (
        "a timestamp missing",
        shop([*ROWS, "u1\ti1\t", "u2\ti2\tnan"]),
        "",
        f"{FILE}: timestamp is missing or no finite number in 2 of 50 interactions, the first on line 50",
    ),
    (
        "lines longer than the first",
        shop([row + "\t1" for row in ROWS]),
        "",
        f"{FILE}: line 2 has more than the 3 columns that line 1 names",
    ),
    (
        "one line longer than the others",
        shop([*ROWS, "u1\ti1\t1\t1"]),
        "",
        f"{FILE}: line 50 has more than the 3 columns that line 1 names",
    ),
    (
        "a line longer than the first, in quotes",
        shop([*ROWS, '"u1"\t"i1"\t"1"\t"1"']),
        "",
        f"{FILE}: line 50 has more than the 3 columns that line 1 names",
    ),
    (
        "a quote that is closed many lines later",
        shop([row.replace("u1\ti1", 'u1\t"i1').replace("u5\ti5", 'u5\ti5"') for row in ROWS]),
        "",
        f"{FILE}: line 8 has a field that begins with a quote and does not end with one on the same line; a field with "
        'a quote at its begin is written in quotes, with each quote in it twice, as in """Best"" tea"',
    ),
    ("a quote that is never closed", shop([*ROWS, 'u1\t"i1\t9', *ROWS[:9]]), "", f"{FILE}: line 50 {QUOTE}"),
    ("a quote that is closed too early", shop([*ROWS, 'u1\t"i"1\t9']), "", f"{FILE}: line 50 {QUOTE}"),
    (
        "the same, for a model of RecBole's",
        shop([*ROWS, 'u1\t"i1\t9', *ROWS[:9]]),
        "--model=SASRec",
        f"{FILE}: line 50 {QUOTE}",
    ),
    (
        "a file for a model of RecBole's that has more columns than names",
        shop([row + "\t1" for row in ROWS]),
        "--model=SASRec",
        f"{FILE}: line 2 has more than the 3 columns that line 1 names",
    ),
    (
        "a timestamp missing below blank lines",
        shop([*ROWS[:9], "", "  ", *ROWS[9:], "u1\ti1\t"]),
        "",
        f"{FILE}: timestamp is missing or no finite number in 1 of 49 interactions, the first on line 52",
    ),
    (
        "a table of items with a line that is too long",
        {FILE: shop(), "dataset/shop/shop.item": "item_id:token\tname:token_seq\ni1\tone\ni2\ttwo\tthree\n"},
        "--load_col=None",
        "dataset/shop/shop.item: line 3 has more than the 2 columns that line 1 names",
    ),
    ("another encoding than UTF-8", shop([*ROWS, "ü\ti1\t1"]).encode("latin-1"), "", f"{FILE}: 'utf-8' codec …"),
    ("no interactions", shop([]), "", f"{FILE}: nothing is there"),
    ("one user", shop(ROWS[:6]), "", f"{FILE}: one user alone is there, at least 2 are needed"),
    (
        "one item",
        shop([row.replace(row.split("\t")[1], "i1") for row in ROWS]),
        "",
        f"{FILE}: one item alone is there, at least 2 are needed",
    ),
    (
        "filters that leave nothing",
        shop(),
        "--user_inter_num_interval=[7,inf)",
        f"{FILE}: nothing is left of 48 interactions by filter_inter_by_user_or_item: True, "
        "user_inter_num_interval: [7,inf)",
    ),
    (
        "filters that leave one user",
        shop([*ROWS, "u1\ti0\t9"]),
        "--user_inter_num_interval=[7,inf)",
        f"{FILE}: one user alone is left of 49 interactions by filter_inter_by_user_or_item: True, "
        "user_inter_num_interval: [7,inf), at least 2 are needed",
    ),
    (
        "fewer items than are ranked",
        shop(),
        "--topk=[5,20] --valid_metric=NDCG@5",
        "topk: got [5, 20], allowed is at most 9, the number of items",
    ),
    ("one interaction a user", shop(ROWS[::6]), "", f"{SPLIT} training instance; a user needs 4 interactions …"),
    (
        "three interactions a user",
        shop([row for row in ROWS if row[-1] in "012"]),
        "",
        f"{SPLIT} validation instance; a user needs 4 interactions for one of each kind",
    ),
    (
        "split files of two parts",
        split(LISTS),
        PRESPLIT.replace("'valid',", ""),
        "benchmark_filename: got ['train', 'test'], allowed is a list of three, as ['train', 'valid', 'test'] for …",
    ),
    (
        "split files as a text",
        split(LISTS),
        PRESPLIT.replace("['train','valid','test']", "[train,valid,test]"),
        "benchmark_filename: got '[train,valid,test]', allowed is a list of three, as …",
    ),
    (
        "lists whose items are numbered apart",
        split(LISTS),
        COLUMNS,
        "alias_of_item_id: got None, allowed is ['item_id_list']: without it the items of the lists in "
        f"{TRAIN} have other numbers than those of item_id",
    ),
    ("the same, for a model of RecBole's", split(LISTS), f"--model=SASRec {COLUMNS}", "alias_of_item_id: got None, …"),
    (
        "split files without lists",
        split(
            [row.replace("\t", "\t\t", 1).rpartition("\t")[0] for row in LISTS],
            header=SPLIT_HEADER.replace("item_id_", ""),
        ),
        PRESPLIT,
        f"{TRAIN}: no item_id_list in what is loaded of it, user_id, list, item_id; see its first line and load_col",
    ),
    (
        "lists of the wrong type",
        split(LISTS, header=SPLIT_HEADER.replace("_seq", "")),
        PRESPLIT,
        f"{TRAIN}: item_id_list has the type token, allowed is token_seq",
    ),
    (
        "an empty list",
        split([*LISTS, "", "u1\t\ti1"]),
        PRESPLIT,
        f"{TRAIN}: line 27 has no item_id_list",
    ),
    (
        "a list without a next item",
        split(LISTS, test=["u1\ti1 i2"]),
        PRESPLIT,
        "dataset/shop/shop.test.inter: line 2 has no item_id",
    ),
    (
        "lists that are padded",
        split(["u1\ti1 i2 i3\ti4", "u2\ti4 0 0\ti5", "u3\ti2 i1 0\ti6", *(f"u4\ti3 i5 i6\ti{k}" for k in range(9))]),
        PRESPLIT,
        f"{TRAIN}: line 3 has item_id_list padded with 0, which is no item_id of this file; lists are written as long "
        "as they are",
    ),
    (
        "split files with nothing in one",
        split(LISTS, test=[""]),
        PRESPLIT,
        "dataset/shop/shop.test.inter: nothing is there",
    ),
    (
        "no file of scores",
        {FILE: shop()},
        ORACLE,
        "oracle_scores: got 'scores', allowed is a field of the interactions (user_id, item_id, timestamp) or a "
        "tab-separated file of user, item, score (FileNotFoundError: …",
    ),
    (
        "scores without a column of them",
        {FILE: shop(), "scores": "user\titem\nu1\ti1\n"},
        ORACLE,
        "oracle_scores: got 'scores', allowed is a field of the interactions (user_id, item_id, timestamp) or a "
        "tab-separated file of user, item, score (IndexError: …",
    ),
    (
        "scores with a column too many",
        scores([f"u{user}\ti{item}\t1\t1" for user in range(8) for item in range(9)]),
        ORACLE,
        "oracle_scores: got 'scores', …scores: line 2 has more than the 3 columns that line 1 names)",
    ),
    (
        "scores of other interactions",
        scores([f"u{user}\ti{item}\t1" for user in range(7) for item in range(9)]),
        ORACLE,
        "oracle_scores: scores has no score for 6 of 48 interactions, the first of user u7 and item i7",
    ),
    (
        "a score that is no number",
        scores([f"u{user}\ti{item}\t{'nan' if user == 3 else 1}" for user in range(8) for item in range(9)]),
        ORACLE,
        "oracle_scores: got 'scores', allowed is a finite number for each interaction",
    ),
    (
        "a field of scores with one missing",
        shop([row + "\t1" for row in ROWS[:-1]] + [ROWS[-1] + "\t"], HEADER + "\tscore:float"),
        "--update_epochs=[1] --explainer=oracle --oracle_scores=score --load_col=None",
        f"{FILE}: score is missing or no finite number in 1 of 48 interactions, the first on line 49",
    ),
]

SETTINGS = [
    (
        "a model misspelt",
        {},
        "--model=EC4SRce",
        "model: got 'EC4SRce', allowed is a model of RecBole's or one of EC4SRec, EC4SRecSSL, EC4SRecSL, CL4SRec, "
        "DuoRec; did you mean EC4SRec?",
    ),
    ("a model in small letters", {}, "--model=sasrec", "model: got 'sasrec', …did you mean SASRec?"),
    (
        "no such file of settings",
        {},
        "--config_files=mine.yaml",
        "config_files: got 'mine.yaml', allowed is a YAML file of keys and values ([Errno 2] No such file or "
        "directory: 'mine.yaml')",
    ),
    ("one that is no YAML", {"mine.yaml": "tau: [1"}, "--config_files=mine.yaml", "config_files: got 'mine.yaml', …"),
    ("one that is a list", {"mine.yaml": "- tau"}, "--config_files=mine.yaml", "config_files: got 'mine.yaml', …"),
    ("a key misspelt", {}, "--num_update=3", "num_update: no such key; did you mean num_updates?"),
    ("a key given twice", {}, "--tau=1 --tau=2", "…'--tau=2' with different value."),
    ("a number out of its range", {}, "--tau=0", "tau: got 0, allowed is a number > 0"),
    ("a number that is none", {}, "--tau=1/0", "tau: got '1/0', allowed is a number > 0"),
    ("a word that is none of ours", {}, "--sim=dots", "sim: got 'dots', allowed is one of dot, cos"),
    (
        "a list with a word too many",
        {},
        "--warmup=[cl,sl,rec]",
        "warmup: got '[cl,sl,rec]', allowed is a list of distinct words out of [cl, sl] (may be empty)",
    ),
    (
        "more updates than epochs",
        {},
        "--epochs=3 --num_updates=3",
        "num_updates: got 3, allowed is at most 2 with epochs: 3 (0 trains the warm-up only), or more epochs",
    ),
    (
        "an update after the last epoch",
        {},
        "--epochs=3 --update_epochs=[2,4]",
        "update_epochs: got [4], allowed is epochs from 1 to 3 (epochs: 3)",
    ),
    (
        "a variant that would be another model",
        {},
        "--model=DuoRec --num_updates=2",
        "num_updates: got 2, allowed is 0 for DuoRec: with another value it is another model, see EC4SRec",
    ),
    (
        "hard negatives in a loss that has none",
        {},
        "--guided_negatives=hard --view_loss=recommendation",
        "guided_negatives: got 'hard', allowed is attract with view_loss: recommendation, which contrasts nothing",
    ),
    (
        "an older key beside the one in its place",
        {},
        "--mask_same_target=True --same_target=positive",
        "mask_same_target: got True, allowed is False with same_target: positive, the key that has taken its place",
    ),
    (
        "scores that are not told",
        {},
        "--explainer=oracle",
        "oracle_scores: got '', allowed is a field of the interactions or a file, for explainer: oracle",
    ),
    (
        "another loss",
        {},
        "--loss_type=BCE",
        "loss_type: got 'BCE', allowed is one of CE, BPR",
    ),
    (
        "no such backbone",
        {},
        "--backbone=Transformer",
        "backbone: got 'Transformer', allowed is a sequential recommender of RecBole's, or your own (register_model)",
    ),
    (
        "a backbone that is no encoder",
        {},
        "--backbone=FPMC",
        "backbone: got 'FPMC', whose forward(user, item_seq, item_seq_len, next_item) is no encoder of (item_seq, "
        "item_seq_len) and perhaps the user",
    ),
    (
        "an explainer that does not fit it",
        {},
        "--backbone=GRU4Rec --explainer=attention",
        "explainer: got 'attention', …",
    ),
    ("no process", {}, "--nproc=0", "nproc: got 0, allowed is an integer >= 1"),
    (
        "more processes on this machine than on all",
        {},
        "--nproc=2 --world_size=1",
        "world_size: got 1, allowed is at least nproc: 2 and group_offset: 0 together, or -1",
    ),
    ("a machine before the first", {}, "--group_offset=-1", "group_offset: got -1, allowed is an integer >= 0"),
    (
        "no number of a port",
        {},
        "--nproc=2 --port=master",
        "port: got 'master', allowed is the number of a port",
    ),
    (
        "nothing to go on with",
        {},
        "--resume=my.state",
        "resume: got 'my.state', allowed is auto or a file that a training with resume has left",
    ),
    (
        "something else to go on with",
        {"my.state": "nothing"},
        "--resume=my.state",
        "resume: my.state is not the state of a training, or not a whole one (…",
    ),
    ("a key of RecBole's misspelt", {}, "--epoch=1", "epoch: no such key; did you mean epochs?"),
    ("in capitals", {}, "--topK=[5]", "topK: no such key; did you mean topk?"),
    ("a parameter of RecBole's functions", {}, "--config_file_list=[x]", "…no such key; did you mean config_files?"),
    (
        "in a file",
        {"mine.yaml": "hiden_size: 8"},
        "--config_files=mine.yaml",
        "hiden_size: no such key; …",
    ),
    (
        "a part of a key",
        {},
        "\"--eval_args={'ordre':'TO'}\"",
        "eval_args.ordre: no such key; did you mean eval_args.order?",
    ),
    ("no =", {}, "--epochs 1", "command line: got '--epochs', allowed is --key=value, with no other ="),
    ("a name of data with a folder", {}, "--dataset=a/b", "dataset: got 'a/b', allowed is the name of a folder in …"),
    ("a metric that RecBole has not", {}, "--metrics=Hits", "metrics: got 'Hits', allowed is one of AUC, …"),
    (
        "validation by a metric that is not computed",
        {},
        "--topk=[5] --valid_metric=NDCG@10",
        "valid_metric: got 'NDCG@10', allowed is one of Recall@5, Hit@5, NDCG@5, MRR@5 (metrics, at topk)",
    ),
    ("no metric of labels", {}, "\"--eval_args={'order':'TO','mode':'labeled'}\"", "eval_args.mode: got 'labeled', …"),
    (
        "a mode that is none",
        {},
        "\"--eval_args={'order':'TO','mode':'uniform100'}\"",
        "eval_args.mode: got 'uniform100', allowed is full, labeled, or uniN or popN with N sampled items, such as …",
    ),
    (
        "an order that is left out",
        {},
        "\"--eval_args={'mode':'uni100'}\"",
        "eval_args: got {'mode': 'uni100'}, allowed is order: TO for sequential models; a part that is left out is …",
    ),
    ("a split in two", {}, "\"--eval_args={'order':'TO','split':{'RS':[.9,.1]}}\"", "eval_args.split: got {'RS': …"),
    ("a split that is none", {}, "\"--eval_args={'order':'TO','split':{'LS':'one'}}\"", "eval_args.split: got …"),
    (
        "pairs without sampling",
        {},
        "--loss_type=BPR --train_neg_sample_args=None",
        "train_neg_sample_args: got None, allowed is a dict with distribution: uniform or popularity for …",
    ),
    (
        "another distribution",
        {},
        "--loss_type=BPR \"--train_neg_sample_args={'distribution':'normal'}\"",
        "train_neg_sample_args.distribution: got 'normal', allowed is one of uniform, popularity, None",
    ),
    ("batches of no size", {}, "--train_batch_size=64k", "train_batch_size: got '64k', allowed is an integer >= 1"),
    ("a rate that is none", {}, "--learning_rate=-1", "learning_rate: got -1, allowed is a number >= 0"),
    ("a seed below 0", {}, "--seed=-1", "seed: got -1, allowed is an integer >= 0 and <= 4294967295"),
    (
        "an optimiser of sparse gradients",
        {},
        "--learner=sparse_adam",
        "learner: got …",
    ),
    ("sequences of no length", {}, "--MAX_ITEM_LIST_LENGTH=0", "MAX_ITEM_LIST_LENGTH: got 0, allowed is …"),
    (
        "heads that do not divide",
        {},
        "--hidden_size=10 --n_heads=3",
        "n_heads: got 3, allowed is a divisor of hidden_…",
    ),
    (
        "weights of an unknown field",
        {},
        "\"--preload_weight={'ent_id':'ent_emb'}\"",
        "preload_weight: got …",
    ),
    ("a folder that is a number", {}, "--checkpoint_dir=1e3", "checkpoint_dir: got 1000.0, allowed is a path"),
    ("a folder that cannot be made", {"saved": ""}, "--checkpoint_dir=saved", "[Errno 17] File exists: 'saved'"),
]

TRAINING = [
    (
        "steps that are too long",
        {},
        "--learning_rate=1e30 --train_batch_size=8",
        "epoch 0 (counted from 0), batch 2: the loss is not finite (rec nan, cl nan, sl nan); a smaller "
        "learning_rate, or sim: cos, may keep it in bounds",
    ),
]

GOOD = [
    ("an item never seen in training", shop([*ROWS, "u1\tnew\t9"]), ""),
    (
        "ids with spaces, not in ASCII",
        shop([row.replace("u", "Zoë Ä ").replace("i", "本 ") for row in ROWS]),
        "",
    ),
    ("equal timestamps", shop([row[:-1] + "1" for row in ROWS]), ""),
    ("lines of another system", shop().replace("\n", "\r\n"), ""),
    ("a byte order mark", b"\xef\xbb\xbf" + shop().encode(), ""),
    ("a byte order mark, for a model of RecBole's", b"\xef\xbb\xbf" + shop().encode(), "--model=SASRec"),
    ("ids with quotes inside", shop([row.replace("i", '12" pipe ') for row in ROWS]), ""),
    (
        "ids in quotes",
        shop([row.replace("\ti", '\t"""i').replace("\t", '"""\t', 2).replace('u"""', "u") for row in ROWS]),
        "",
    ),
    ("blank lines", shop().replace("\n", "\n\n"), ""),
    ("a table of items that is not read", {FILE: shop(), "dataset/shop/shop.item": b'"\xff\n'}, ""),
    (
        "split files with lists longer than MAX_ITEM_LIST_LENGTH",
        split([*LISTS, "u1\t" + " ".join(["i1", "i2"] * 9) + "\ti3"]),
        PRESPLIT,
    ),
    (
        "the same, for a model of RecBole's",
        split([*LISTS, "u1\t" + " ".join(["i1", "i2"] * 9) + "\ti3"]),
        f"--model=SASRec {PRESPLIT}",
    ),
    ("an item called 0 in lists", split([row.replace("i0", "0") for row in LISTS]), PRESPLIT),
    ("an id missing: RecBole warns and leaves the line out", shop([*ROWS, "\ti1\t9"]), ""),
    ("scores of all interactions", scores([f"u{u}\ti{i}\t1" for u in range(8) for i in range(9)]), ORACLE),
]
SECTIONS = {"Data": DATA, "Settings": SETTINGS, "While training": TRAINING}


def write_files(files):
    """Make the files of a row in the working folder."""
    files = files if isinstance(files, dict) else {FILE: files}
    for name, content in {FILE: shop(), **files}.items():
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())


PAGE = """# Error messages

These are the messages for wrong data and settings. A command prints `error: ` and the message, and ends with status 1;
`--traceback` shows where it was raised. In Python they are `ConfigError`, `DataError` and `NonFiniteError`, subclasses
of `recbole_ec4srec.RunError`.

`python tools/bad_input.py` writes this page; the tests check each row. The data set is called `shop`. … stands for
words of a library, which differ by version."""
KEYS_OF_OURS = "`KEY: got VALUE, allowed is …` names what [the table of keys](keys.md) has as allowed."
TABLES = """## Unknown keys and wrong values

An unknown key is refused, with the nearest known key. If the model, backbone or explainer is your own, it is refused
only if it is nearly the name of a known key; `recbole_ec4srec.register_keys` adds a key.

`python tools/key_values.py` tries values for each key: of a wrong type, out of range, without the keys that they need,
and allowed ones. No data is read. It prints these counts:"""


def page():
    """docs/errors.md."""
    lines = [PAGE]
    for title, rows in SECTIONS.items():
        cells = [[what, _code(given), _code(message)] for what, _, given, message in rows]
        lines += ["", f"## {title}", "", *markdown_table(["what is wrong", "given", "message"], cells)]
    lines += ["", "## Unusual input that is accepted", "", *[f"- {what}" for what, *_ in GOOD]]
    lines += [
        "",
        TABLES,
        "",
        *key_values.summary(),
        "",
        "These keys accept any text or any value:",
        "",
        key_values.free(),
    ]
    lines += ["", "## Keys of this package", "", KEYS_OF_OURS]
    return "\n".join(lines) + "\n"


def _code(text):
    return f"`{text}`".replace("|", "\\|") if text else ""


if __name__ == "__main__":
    print(page(), end="")
