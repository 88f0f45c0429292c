"""What the README says is what there is."""

import re
from pathlib import Path

from recbole_ec4srec.config import KEYS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.M | re.S)


def test_every_key_stands_in_the_table_of_keys():
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `"))
    assert [key for key in KEYS if f"`{key}`" not in table] == []


def test_there_are_two_commands_one_that_trains_and_one_that_tests():
    train, test = blocks("bash")
    assert "run_recbole --model=EC4SRec --dataset=ml-100k" in train
    assert "pytest" in test
    assert train.count("\n") == test.count("\n") == 1


def test_the_python_example_compiles():
    for block in blocks("python"):
        compile(block, "README.md", "exec")


def test_what_is_named_is_there():
    root = Path(__file__).parent.parent
    named = set(re.findall(r"[`(]((?:properties|recbole_ec4srec|benchmarks|docs)/[\w./-]*)[`)]", README))
    assert named
    assert [path for path in named if not (root / path).exists()] == []
