"""Small settings and small data in RecBole's format, for tests and pages."""

import socket

SMALL = {
    "MAX_ITEM_LIST_LENGTH": 8,
    "hidden_size": 16,
    "inner_size": 32,
    "n_layers": 2,
    "n_heads": 2,
    "train_batch_size": 32,
    "eval_batch_size": 64,
    "show_progress": False,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}
SMALL_EC4SREC = {"epochs": 4, "update_epochs": [2, 4]}


def write_inter(folder, name, sequences):
    """Write ``{user: [items]}`` as an atomic file, the interactions of all users interleaved in time."""
    rows = [(user, item, step) for user, items in sequences.items() for step, item in enumerate(items)]
    rows.sort(key=lambda row: (row[2], str(row[0])))
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *(f"{u}\t{i}\t{t}" for u, i, t in rows)]
    (folder / name / f"{name}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")


def free_port():
    """A port of this machine that nothing listens at."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]
