"""Figures in the tables of a page, and whether they are those of the records."""

import re

import pandas as pd
import pytest

FIGURE = r"[-+]?(?:\d*\.\d+|(?<!\w)\d+)(?:e-\d+)?"
CLAIM = re.compile(r'\[([^\]]+)\]\([./]*results/([\w-]+)\.csv\s+"([^"]+)"\)')
MEASURED = re.compile(r"(?<!\d)\.\d{2,}|\bp [<=]? ?\.\d+")


def tables(page):
    """The tables of a Markdown page: the names of the columns, and the cells of each row."""
    found = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.M)
    rows = [[[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines()] for text in found]
    return [(columns, cells) for columns, _, *cells in rows]


def claims(page):
    """The figures in the text of a page that link to a table in results/, with its name and the place in it that the
    tooltip names; and those that do not."""
    text = re.sub(r"^\|.*", "", page.read_text(encoding="utf-8"), flags=re.M)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return CLAIM.findall(text), MEASURED.findall(re.sub(r"\]\(.*?\)", "", CLAIM.sub("", text)))


def label_and_figure(cell):
    """``DuoRec .0441 ± .0002`` is the label DuoRec and its figure; a cell without a figure is a label."""
    label, figure = re.fullmatch(r"(.*?)((?: \.\d+)(?: ± \.\d+)?)?", cell).groups()
    return label, (figure or "").strip()


def agree(cell, value):
    """Each number of a cell is that of the value, rounded to the decimals that the page has."""
    shown, recorded = re.findall(FIGURE, cell), re.findall(FIGURE, value)
    decimals = [len(number.partition(".")[2]) for number in shown]
    rounded = [round(float(number), places) for number, places in zip(recorded, decimals)]
    return len(shown) == len(recorded) and [float(number) for number in shown] == pytest.approx(rounded, abs=1e-12)


class Recorded:
    """Values by table, row and column of the CSV files that the experiments write."""

    def __init__(self, *folders):
        self.folders = folders

    def table(self, name):
        file = next(file for folder in self.folders if (file := folder / f"{name}.csv").is_file())
        return pd.read_csv(file, dtype=str, keep_default_na=False)

    def row(self, name, label):
        table = self.table(name)
        (row,) = table[table.iloc[:, 0] == label].to_numpy().tolist()
        return dict(zip(table.columns, row))  # pandas numbers columns of the same name: paper, paper.1 …

    def cell(self, name, place):
        """The cell at ``row; column``, or at ``row; against; metric; column`` in a table of differences. The column
        ``HR@5, paper`` is the one named paper after that of HR@5."""
        *labels, column = place.split("; ")
        table, (column, *paper) = self.table(name), column.split(", paper")
        (row,) = table[(table.iloc[:, : len(labels)] == labels).all(axis=1)].to_numpy().tolist()
        return row[table.columns.get_loc(column) + len(paper)]

    def difference(self, name, label, against, metric):
        table = self.table(f"{name}-significance")
        table = table[(table.iloc[:, 0] == label) & (table["against"] == against) & (table["metric"] == metric)]
        (row,) = table[["difference", "95 % interval", "p, Holm"]].to_numpy().tolist()
        return row
