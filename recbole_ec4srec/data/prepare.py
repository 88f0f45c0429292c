"""RecBole's atomic files from what the publishers distribute: ``python -m recbole_ec4srec.data.prepare NAME FILE``.

Read are, plain or gzipped, the Amazon reviews of 2014 (a JSON object a line, with ``reviewerID``, ``asin`` and
``unixReviewTime``, or a CSV of user, item, rating, timestamp) and MovieLens-1M's ``ratings.dat``. As section 5.1.1
says, repeated items of a user are removed (the first is kept), and users and items with fewer than five interactions,
again and again until none is left.
"""

from __future__ import annotations

import ast
import gzip
import json
import math
import zlib
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recbole_ec4srec import console
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.storage.atomic import replacing

#: Users, items and interactions that the paper's Table 2 counts.
COUNTS = {
    "amazon-beauty": (22_363, 12_101, 198_502),
    "amazon-clothing": (39_387, 23_033, 278_677),
    "amazon-sports": (35_598, 18_357, 296_337),
    "ml-1m": (6_041, 3_417, 999_611),
}
CORE = 5
#: How many broken lines are told with their reason, and how many further ones by number.
_NAMED, _NUMBERED = 10, 100


class BrokenLine(ValueError):
    """A line that is no interaction; the message says why."""


def _json(line: str) -> tuple:
    try:
        review = json.loads(line)
    except ValueError:
        try:  # the complete review files hold Python literals
            review = ast.literal_eval(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise BrokenLine("no JSON object") from None
    if not isinstance(review, dict):
        raise BrokenLine("no JSON object")
    fields = ("reviewerID", "asin", "unixReviewTime")
    missing = [field for field in fields if field not in review]
    if missing:
        raise BrokenLine(f"no {missing[0]}")
    return tuple(review[field] for field in fields)


def _separated(separator: str) -> Callable[[str], tuple]:
    def parse(line):
        parts = line.split(separator)
        if len(parts) != 4:
            raise BrokenLine(f"{len(parts)} fields where user, item, rating, timestamp were expected")
        return parts[0], parts[1], parts[3]

    return parse


def _parser(line: str) -> Callable[[str], tuple]:
    """What reads a file that starts with ``line``."""
    if line.lstrip().startswith("{"):
        return _json
    return _separated("::" if "::" in line else ",")


def _open(path):
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return (gzip.open if zipped else open)(path, "rt", encoding="utf-8-sig")  # with a byte order mark or without


def read(path: str | Path) -> tuple:
    """Read a publisher's file line by line; only ids and times are kept.

    Returns:
        ``(users, items, user, item, time, broken)``: the tokens, the index of each interaction's user and item ``[N]``
        and its time ``[N]`` (seconds), and ``{line number: why it is no interaction}``.
    """
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    broken: dict[int, str] = {}
    user, item, time = array("q"), array("q"), array("d")
    with _open(path) as file:
        parse = None
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line:
                continue
            parse = parse or _parser(line)
            try:
                who, what, when = parse(line)
                who, what, when = _token(who, "user"), _token(what, "item"), _seconds(when)
            except BrokenLine as error:
                broken[number] = str(error)
                continue
            user.append(users.setdefault(who, len(users)))
            item.append(items.setdefault(what, len(items)))
            time.append(when)
    columns = (np.frombuffer(user, np.int64), np.frombuffer(item, np.int64), np.frombuffer(time, np.float64))
    return (list(users), list(items), *columns, broken)


def _token(value, kind):
    if not isinstance(value, (str, int)) or not str(value).strip() or set(str(value)) & set("\t\r\n"):
        raise BrokenLine(f"no usable {kind}: {value!r}")
    return str(value).strip()


def _seconds(value):
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise BrokenLine(f"no usable timestamp: {value!r}")
    return seconds


def select(user: np.ndarray, item: np.ndarray, time: np.ndarray, core: int = CORE) -> np.ndarray:
    """The rows that stay, ordered by user and time, ``[M]``.

    Of a user's interactions with one item the first stays; then users and items with fewer than ``core`` interactions
    go until none is left. Rows of equal time keep their order.
    """
    rows = np.lexsort((time, user))  # stable
    _, first = np.unique(user[rows] * (item.max(initial=0) + 1) + item[rows], return_index=True)
    rows = rows[np.sort(first)]
    while True:
        often = [np.bincount(ids[rows], minlength=1)[ids[rows]] >= core for ids in (user, item)]
        kept = often[0] & often[1]
        if kept.all():
            return rows
        rows = rows[kept]


def write(
    folder: Path,
    name: str,
    users: Sequence[str],
    items: Sequence[str],
    user: np.ndarray,
    item: np.ndarray,
    time: np.ndarray,
) -> Path:
    """Write ``folder/name/name.inter``, of what :func:`read` gives; the file appears whole or not at all."""
    file = folder / name / f"{name}.inter"
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.write("user_id:token\titem_id:token\ttimestamp:float\n")
        out.writelines(
            f"{users[u]}\t{items[i]}\t{t:.15g}\n" for u, i, t in zip(user.tolist(), item.tolist(), time.tolist())
        )
    return file


def main(argv: Sequence[str] | None = None) -> None:
    """The command; ``argv`` is ``sys.argv[1:]`` where it is left out."""
    command = "python -m recbole_ec4srec.data.prepare"
    parser = console.parser(
        command,
        __doc__.split("\n\n", 1)[1],
        f"examples:\n  {command} amazon-beauty reviews_Beauty_5.json.gz\n"
        f"  {command} ml-1m ml-1m/ratings.dat --output=/data/recbole",
    )
    parser.add_argument("name", choices=COUNTS, help="the data set's name: %(choices)s", metavar="NAME")
    parser.add_argument("file", type=Path, help="the publisher's file", metavar="FILE")
    parser.add_argument("--output", type=Path, default=Path("dataset"), help="(default: dataset)")
    console.add_options(parser, quiet="tell errors alone, of the lines left out too")
    args = parser.parse_args(argv)
    console.run(lambda: prepare(args.name, args.file, args.output), args)


def prepare(name: str, source: Path, output: Path) -> None:
    """Read ``source``, write ``output/name/name.inter``, and tell what is left out and how it compares with Table 2.

    Raises:
        DataError: ``source`` cannot be read, or no line of it is an interaction, or nothing of it is left.
    """
    try:
        users, items, user, item, time, broken = read(source)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{source}: {error}") from error
    if broken and not len(user):
        number, reason = next(iter(broken.items()))
        raise DataError(
            f"{source}: none of {len(broken)} lines is an interaction, as line {number}: {reason}; allowed are "
            "Amazon's reviews of 2014, as JSON or user,item,rating,timestamp, and MovieLens-1M's ratings.dat"
        )
    if broken:
        console.tell(f"{len(broken)} broken lines of {len(user) + len(broken)} are left out:")
        for number, reason in list(broken.items())[:_NAMED]:
            console.tell(f"  line {number}: {reason}")
        if len(broken) > _NAMED:
            numbers = list(broken)[_NAMED : _NAMED + _NUMBERED]
            others = len(broken) - _NAMED - len(numbers)
            console.tell(f"  and lines {', '.join(map(str, numbers))}" + (f" and {others} more" if others else ""))
    rows = select(user, item, time)
    if not len(rows):
        raise DataError(f"{source}: of {len(user)} interactions none is left in the {CORE}-core")
    file = write(output, name, users, items, user[rows], item[rows], time[rows])
    counts = len(np.unique(user[rows])), len(np.unique(item[rows])), len(rows)
    console.tell(f"{len(user)} interactions read, {file} written")
    for what, ours, paper in zip(("users", "items", "interactions"), counts, COUNTS[name]):
        note = "as in Table 2" if ours == paper else f"DIFFERS from Table 2's {paper} by {ours - paper:+d}"
        console.tell(f"  {what}: {ours}, {note}")


if __name__ == "__main__":
    main()
