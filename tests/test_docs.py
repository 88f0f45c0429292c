"""What the README and the pages of docs/ say is what there is: every block of theirs is run."""

import configparser
import doctest
import gzip
import importlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import yaml
from conftest import ROOT, write_inter
from page_figures import Recorded, agree, claims, label_and_figure, tables
from recbole.config import Config
from torch.distributed.run import get_args_parser

import recbole_ec4srec
from recbole_ec4srec.commands import run_hyper, run_recbole
from recbole_ec4srec.config.keys import EXPLAINERS, KEYS
from recbole_ec4srec.config.objective import ADDED_DEFAULTS, LOSSES, OPERATORS
from recbole_ec4srec.config.schedule import update_schedule
from recbole_ec4srec.experiments import __main__ as experiments
from recbole_ec4srec.experiments import explanations, runner, shuffle

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "docs" / "tour.ipynb"]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
COMMANDS = dict(re.findall(r"(\w+) = (.+)", SETUP["options.entry_points"]["console_scripts"]))
NOT_RUN = ("text", "mermaid", "bibtex", "bash")  # the README's two in bash are run by .ci/run


def blocks(page):
    """``[(language, text)]`` of a page's blocks of code, without Sphinx's directives."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return [("python", "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    found = re.findall(r"^```(.*?)\n(.*?)^```$", text, flags=re.M | re.S)
    return [(language, block) for language, block in found if not language.startswith("{")]


class Reader:
    """Does what a page says, block by block, in one namespace and the working folder."""

    def __init__(self, page, capsys, caplog):
        self.page, self.capsys, self.caplog = page.name, capsys, caplog
        self.names = {"__name__": "__main__"}

    def read(self, language, text):
        if language in NOT_RUN:
            return
        reader = {"": self.sh}.get(language) or getattr(self, language, None)
        assert reader, f"{self.page}: nothing reads {language}"
        reader(text)

    def python(self, text):
        """A module where its first line names a file, and otherwise what is typed in."""
        if module := re.match(r"# (\w+\.py)$", text, re.M):
            Path(module[1]).write_text(text, encoding="utf-8")
            return
        exec(compile(text, self.page, "exec"), self.names)

    def pycon(self, text):
        test = doctest.DocTestParser().get_doctest(text, self.names, self.page, self.page, 0)
        report = []
        doctest.DocTestRunner(verbose=False).run(test, out=report.append, clear_globs=False)
        assert report == [], "".join(report)
        self.names.update(test.globs)

    def sh(self, text):
        for line in text.replace("\\\n", "").splitlines():
            self.command(line)

    def console(self, text):
        """After ``$`` a command, and in between lines of what it prints, whatever the figures."""
        for line in text.splitlines():
            if line.startswith("$ "):
                self.capsys.readouterr(), self.caplog.clear()
                self.command(line[2:])
                printed = [*self.capsys.readouterr().out.splitlines(), *self.caplog.text.splitlines()]
                printed = [*map(_without_figures, printed)]
            else:
                assert any(_without_figures(line) in other for other in printed), f"{self.page}: not printed: {line}"

    def command(self, line):
        name, *arguments = shlex.split(line, comments=True) or [None]
        arguments = [re.sub(r"saved/(\w+-)….pth", _newest, argument) for argument in arguments]
        if name is None:
            return
        if name == "pip":
            assert all(extra in SETUP["options.extras_require"] for extra in re.findall(r"\[(\w+)\]", line))
            return
        if name == "torchrun":  # its options are checked; one process runs
            given = get_args_parser().parse_args(arguments)
            name, arguments = "python", ["-m", given.training_script, *given.training_script_args]
        if name == "python" and arguments[0] == "-m":
            start, (_, name, *arguments) = runpy.run_module, arguments
        elif name == "python":
            start, (name, *arguments) = runpy.run_path, arguments
        else:
            module, function = COMMANDS[name].split(":")
            start = lambda *_, **__: getattr(importlib.import_module(module), function)()  # noqa: E731
        with patch.object(sys, "argv", [name, *arguments]):
            try:
                start(name, run_name="__main__")
            except SystemExit as end:
                assert not end.code, f"{self.page}: {line}"

    def yaml(self, text):
        """A file of settings, named in its first line."""
        assert yaml.safe_load(text)
        Path(text.splitlines()[0][2:]).write_text(text)


def _newest(match):
    return str(max(Path("saved").glob(f"{match[1]}*.pth")))


def _without_figures(line):
    """The line without colours; figures are all the same, and so are spaces."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.,]*", "0", re.sub(r"\x1b\[[\d;]*m", "", line)))


@pytest.fixture(scope="session")
def movies(tmp_path_factory):
    """A small data set for the name ml-100k, with the users and films that the pages name."""
    folder = tmp_path_factory.mktemp("movies")
    rng = np.random.default_rng(3)
    items = [*map(str, range(1, 41)), "50", "71", "99", "172", "181", "588"]
    sequences = {str(user): rng.permutation(items)[: rng.integers(8, 16)] for user in range(175, 205)}
    write_inter(folder, "ml-100k", sequences)
    titles = [f"{item}\tFilm {item}\n" for item in items]
    (folder / "ml-100k" / "ml-100k.item").write_text("item_id:token\tmovie_title:token_seq\n" + "".join(titles))
    return folder / "ml-100k"


@pytest.fixture
def checkout(movies, tmp_path, monkeypatch):
    """A checkout with what the pages name, where settings are checked as they are written and trainings cut short."""
    set_default_parameters = Config._set_default_parameters

    def cut(config):
        set_default_parameters(config)
        final = config.final_config_dict
        if config.dataset == "ml-100k":
            final["data_path"] = str(movies)
        final["epochs"] = 3
        if final.get("num_updates") or final.get("update_epochs"):
            final["update_epochs"] = [2, 3]

    def train(model, dataset, config_file_list=None, config_dict=None, nproc=1, **others):
        config = Config(model, dataset, config_file_list, config_dict)
        if nproc == 1 and Path(config["data_path"]).is_dir():
            recbole_ec4srec.run(model, dataset, config_file_list, config_dict)

    def search(model, dataset, config_files, params_file, **others):
        Config(model, dataset, config_files)
        assert params_file is None or Path(params_file).is_file()

    monkeypatch.setattr(Config, "_set_default_parameters", cut)
    monkeypatch.setattr(run_recbole, "run", train)
    monkeypatch.setattr(run_hyper, "search", search)
    monkeypatch.setattr(runner, "record_missing", lambda *_: None)
    for module, name in ((explanations, "recovery"), (explanations, "faithfulness"), (shuffle, "shuffle")):
        monkeypatch.setattr(module, name, lambda args: None)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("properties", "dataset", "results"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "histories.csv").write_text("user,items\nstranger,50 172\n")
    (tmp_path / "my.yaml").write_text("epochs: 2\n")
    (tmp_path / "my.test").write_text("n_layers choice [1,2]\n")
    reviews = [{"reviewerID": u, "asin": i, "unixReviewTime": t} for t in range(5) for u in "abcde" for i in "vwxyz"]
    with gzip.open(tmp_path / "reviews_Beauty_5.json.gz", "wt") as file:
        file.writelines(json.dumps(review) + "\n" for review in reviews)
    with ExitStack() as tables:  # which the pages add to
        for table in (EXPLAINERS, LOSSES, OPERATORS, KEYS, ADDED_DEFAULTS):
            tables.enter_context(patch.dict(table))
        yield


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_every_block_runs(page, checkout, capsys, caplog):
    caplog.set_level("INFO")
    if page.name in ("commands.md", "serving.md"):  # a training that the commands on it are about
        recbole_ec4srec.run("EC4SRec", "ml-100k", config_dict={"resume": "auto"})
    reader = Reader(page, capsys, caplog)
    for language, text in blocks(page):
        reader.read(language, text)


@pytest.mark.slow
def test_the_notebook_runs_on_movielens_as_it_stands(capsys, caplog):
    reader = Reader(ROOT / "docs" / "tour.ipynb", capsys, caplog)
    for language, text in blocks(ROOT / "docs" / "tour.ipynb"):
        reader.read(language, text)
    assert reader.names["trained"].titles["50"] == "Star Wars"


def test_the_pages_are_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", ROOT / "docs", tmp_path / "built"]
    done = subprocess.run([*command, "-d", tmp_path / "doctrees"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "built" / "index.html").is_file()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The tables of the experiments, made anew from the records; results/ has those of trained models beside them."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "records").symlink_to(ROOT / "results" / "records")
    for name, dataset in [("table3", "amazon-beauty"), ("table3", "ml-100k"), ("figure5", "amazon-beauty")]:
        experiments.main([name, "--datasets", dataset, "--seeds", "1", "2", "3", f"--output={folder}", "-q"])
    experiments.main(["figure3", "--datasets", "amazon-beauty", f"--output={folder}", "-q"])
    return Recorded(folder, ROOT / "results")


def test_the_tables_in_results_are_those_of_the_records(recorded):
    """A table of records that an earlier table has is not among them."""
    made, kept = recorded.folders
    both = [file for file in made.glob("*.csv") if (kept / file.name).is_file()]
    assert len(both) > 8
    assert [file.name for file in both if file.read_bytes() != (kept / file.name).read_bytes()] == []


def test_figures_of_the_readme_are_those_of_the_records(recorded):
    rows = next(rows for columns, rows in tables(README) if columns[:2] == ["model", "NDCG@10"])
    assert len(rows) == 7
    for model, *cells in rows:
        row = recorded.row("table3-amazon-beauty", model.replace("EC4SRec without L_cl+", "EC4SRec, tuned"))
        values = [row["NDCG@10"], row["paper.3"], row["HR@10"], row["paper.1"], str(len(row["seeds"].split(",")))]
        assert [*map(agree, cells, values)] == [True] * 5, (model, cells, values)


def test_our_figures_beside_those_of_others_are_those_of_the_records(recorded):
    under = {"All items ranked": "", "Without seen items": "-unseen"}
    found = []
    for (title, protocol), (_, rows) in zip(under.items(), tables(ROOT / "docs" / "baselines.md")):
        assert f"## {title}" in (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
        for data, model, *cells, seeds in rows:
            if model.startswith("**"):
                label, mode = model.strip("*").split(", on ")
                table = f"table3-amazon-{data.lower()}{'-sequences' if mode == 'sequences' else ''}{protocol}"
                row = recorded.row(table, label)
                found += [
                    (model, cell, row[column]) for cell, column in zip(cells, ("HR@5", "HR@10", "NDCG@5", "NDCG@10"))
                ]
                found.append((model, seeds, str(len(row["seeds"].split(",")))))
    assert len(found) > 25
    assert [row for row in found if not agree(*row[1:])] == []


def differences(recorded, rows, table, metric, name=str):
    """The figures of rows ``model | against | difference | interval | p``, each with the value of the records."""
    for model, against, *cells in rows:
        labels = [label_and_figure(cell) for cell in (model, against)]
        for label, figure in labels:
            if figure:
                yield label, figure, recorded.row(table, name(label))[metric]
        values = recorded.difference(table, *(name(label) for label, _ in labels), metric)
        yield from zip([model] * 3, cells, values)


def diagnosis(recorded, kind, rows, columns):
    """The same of rows ``model | …``; of several columns of the records the one that the model has."""
    for model, *cells in rows:
        row = recorded.row(f"diagnosis-{kind}-amazon-beauty", re.sub(r" \(.*", "", model))
        for cell, names in zip(cells, columns):
            yield model, cell, next((f"{row[name]} {row.get(f'∇ {name}', '')}" for name in names if row[name]), "")


def test_figures_of_the_findings_are_those_of_the_records(recorded):
    of_page = (rows for _, rows in tables(ROOT / "docs" / "findings.md"))
    beauty, views, losses, shuffled, figure5, figure3, movies = of_page
    first_update = str(update_schedule(150, 5, [])[0])
    found = [
        *differences(recorded, beauty, "table3-amazon-beauty", "NDCG@10"),
        *differences(recorded, figure5, "figure5-amazon-beauty", "NDCG@5"),
        *differences(recorded, figure3, "figure3-amazon-beauty", "NDCG@5", "EC4SRec, {}".format),
        *diagnosis(recorded, "views", views, (["another anchor"], ["cl_1", "cl_pos_1"], ["cl_neg"], ["sl", "sl_pos"])),
        *diagnosis(recorded, "losses", losses, (["rec"], ["cl_pos"], ["cl_neg"], ["sl", "sl_pos"])),
        *diagnosis(
            recorded,
            "representations",
            [[row[0], *row[5:]] for row in losses],
            (["alignment"], ["uniformity of sequences"]),
        ),
    ]
    for model, ranked, *cells in shuffled:
        place = f"{model}; {ranked.replace('all items', 'all items ranked')}; "
        columns = [f"{place}as they are; NDCG@10"]
        for change in ("all but the last item shuffled", "the last item alone"):
            columns += [f"{place}{change}; {column}" for column in ("difference in NDCG@10", "p, Holm")]
        found += [
            (model, cell, recorded.cell("shuffle-amazon-beauty-sequences", column))
            for cell, column in zip(cells, columns)
        ]
    for model, *cells in movies:
        row = recorded.row("table3-ml-100k", model)
        guided = first_update if model.startswith("EC4SRec") else ""
        values = [row["NDCG@10"], row["paper.3"], row["HR@10"], row["paper.1"], row["epoch"], guided]
        found += zip([model] * 6, cells, values)
    assert len(found) > 150
    assert [row for row in found if not agree(*row[1:])] == []


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "findings.md"], ids=lambda page: page.name)
def test_a_figure_in_the_text_of_a_page_is_that_of_the_row_and_column_that_it_names(page, recorded):
    named, others = claims(page)
    assert named
    assert others == []
    assert [claim for claim in named if not agree(claim[0], recorded.cell(*claim[1:]))] == []


def test_there_are_two_commands_one_that_trains_and_one_that_tests():
    train, test = (text for language, text in blocks(README) if language == "bash")
    assert "run_recbole --model=EC4SRec --dataset=ml-100k" in train
    assert "pytest" in test
    assert train.count("\n") == test.count("\n") == 1


def test_the_readme_has_at_most_150_lines():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=lambda page: page.name)
def test_what_is_named_is_there(page):
    text = page.read_text(encoding="utf-8")
    named = {ROOT / path for path in re.findall(r"`((?:properties|recbole_ec4srec|benchmarks|docs)/[\w./-]*)`", text)}
    linked = {page.parent / path for path in re.findall(r"\]\((?!https?:)([^)#\s]+)", text)}
    assert page != README or linked
    assert [path for path in named | linked if not path.exists()] == []


def test_the_page_about_the_code_has_every_folder():
    text = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")
    folders = {folder.parent.name for folder in (ROOT / "recbole_ec4srec").glob("*/__init__.py")}
    assert folders
    assert {folder for folder in folders if f"| `{folder}/` |" not in text} == set()
