"""A trained model used: recommendations for any histories, explanations of them, and the command for both."""

import csv
import io
import json
import math
import re
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from html_page import Page
from recbole.utils.case_study import full_sort_topk

from recbole_ec4srec.commands import ec4srec
from recbole_ec4srec.data.retrieval import GuidedRetrieval, SameTargetIndex
from recbole_ec4srec.errors import ConfigError, DataError, printable
from recbole_ec4srec.explain import Occlusion
from recbole_ec4srec.inference import TrainedModel, explain_sequences, read_histories, recommend, views
from recbole_ec4srec.inference.explanation import Explanation
from recbole_ec4srec.inference.titles import read_titles
from recbole_ec4srec.reporting import rendering
from recbole_ec4srec.reporting.picture import picture

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {}


@pytest.fixture
def checkpoint(checkpoints, experiment, tmp_path_factory):
    """``checkpoint(model)``: the file of a short training, and the experiment that left it; each is trained once."""

    def make(model="EC4SRec"):
        if model not in checkpoints:
            small = experiment(model, checkpoint_dir=str(tmp_path_factory.mktemp("saved")))
            small.fit()
            checkpoints[model] = small.trainer.saved_model_file, small
        return checkpoints[model]

    return make


def write_csv(file, rows):
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)
    return file


def long_form(**histories):
    rows = [(user, item) for user, items in histories.items() for item in items.split()]
    return pd.DataFrame(rows, columns=["user", "item"])


@pytest.mark.parametrize("model", ["EC4SRec", "SASRec", "GRU4Rec"])
def test_recommendations_are_those_of_recbole(checkpoint, model):
    file, small = checkpoint(model)
    trained = TrainedModel(file)
    small.model.load_state_dict(trained.model.state_dict())
    small.model.eval()
    dataset = small.test_data._dataset
    users = dataset.inter_feat[dataset.uid_field].numpy()
    scores, items = full_sort_topk(users, small.model, small.test_data, 4)
    without_last = trained.interactions.groupby("user", sort=False).head(-1)
    tested = dataset.id2token(dataset.uid_field, users)
    table, counts = recommend(trained, without_last[without_last["user"].isin(tested)], topk=4, batch_size=7)
    assert counts == {"users": len(users), "unknown": 0, "unknown_items": 0, "left_out": 0}
    table = table.set_index("user").loc[tested]
    assert table["rank"].tolist() == [1, 2, 3, 4] * len(users)
    np.testing.assert_allclose(table["score"].to_numpy().reshape(-1, 4), scores.numpy(), rtol=1e-4, atol=1e-5)
    assert (table["item"].to_numpy() == dataset.id2token(dataset.iid_field, items.numpy()).ravel()).mean() > 0.99


def test_with_many_items_fewer_histories_are_scored_at_a_time(checkpoint, monkeypatch):
    trained = TrainedModel(checkpoint()[0])
    histories = long_form(**{f"u{number}": f"i{number} i{number + 3}" for number in range(9)})
    whole, sizes, scores = recommend(trained, histories)[0], [], trained.scores
    monkeypatch.setattr(trained, "scores", lambda batch, seen=None: sizes.append(len(batch)) or scores(batch, seen))
    for allowed, expected in ((4 * len(trained.items), [4, 4, 1]), (1, [1] * 9)):
        monkeypatch.setattr("recbole_ec4srec.inference.recommendation.SCORES_AT_A_TIME", allowed)
        pd.testing.assert_frame_equal(recommend(trained, histories)[0], whole)
        assert sizes == expected
        sizes.clear()


def test_users_and_items_that_nobody_has_seen(checkpoint):
    trained = TrainedModel(checkpoint()[0])
    histories = long_form(stranger="i3 nothing i7", nobody="nothing else", other="i3 i7")
    table, counts = recommend(trained, histories, topk=3)
    assert counts == {"users": 3, "unknown": 3, "unknown_items": 2, "left_out": 1}
    assert table["user"].tolist() == ["stranger"] * 3 + ["other"] * 3
    by_user = [of_user.drop(columns="user").reset_index(drop=True) for _, of_user in table.groupby("user")]
    pd.testing.assert_frame_equal(*by_user)
    assert len(recommend(trained, histories.iloc[:0])[0]) == 0


def test_what_was_seen_is_not_recommended_also_beyond_the_window(checkpoint):
    trained = TrainedModel(checkpoint()[0])
    everything = [f"i{number}" for number in range(1, 41)]
    table, _ = recommend(trained, long_form(u=" ".join(everything[:38])), topk=10, filter_seen=True)
    assert sorted(table["item"]) == ["i39", "i40"]
    table, _ = recommend(trained, long_form(u=" ".join(everything[:38])), topk=100)
    assert sorted(table["item"]) == sorted(everything)


def test_only_the_last_items_of_a_long_history_are_used(checkpoint):
    trained = TrainedModel(checkpoint()[0])
    long, short = (recommend(trained, long_form(u=items))[0] for items in ("i1 " * 9 + "i2 " * 8, "i2 " * 8))
    pd.testing.assert_frame_equal(long, short)


@pytest.mark.parametrize(
    "name, text",
    [
        ("h.csv", "user,item,timestamp\nb,y,5\na,x,2\na,z,1\n"),
        ("h.tsv", "user_id\titem_id\ttimestamp\nb\ty\t5\na\tz\t1\na\tx\t2\n"),
        ("h.inter", "user_id:token\titem_id:token\nb\ty\na\tz\na\tx\n"),
        ("h.csv", "user,items\nb,y\na,z x\n"),
        ("h.csv", "\ufeffuser,item\n\nb,y\na,z\n\na,x\n"),
        ("h.jsonl", '\ufeff{"user": "b", "items": ["y"]}\n{"user": "a", "items": ["z", "x"]}\n'),
        ("h.jsonl", '{"user": "b", "items": ["y"]}\n{"user": "a", "items": ["z", "x"]}\n'),
    ],
)
def test_histories_are_read_from_any_of_these(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_histories(tmp_path / name)
    assert {user: items.tolist() for user, items in found.groupby("user")["item"]} == {"a": ["z", "x"], "b": ["y"]}


def test_histories_may_have_the_names_and_the_format_of_the_training(tmp_path):
    config = {
        "USER_ID_FIELD": "customer",
        "ITEM_ID_FIELD": "product",
        "TIME_FIELD": "at",
        "LIST_SUFFIX": "_seq",
        "field_separator": ";",
        "seq_separator": ",",
        "encoding": "latin-1",
    }
    files = {
        "h.inter": "user:token;customer:token;product:token;at:float\nme;Zoë;y;2\nme;Zoë;x;1\n",
        "h.csv": "customer,product,at,time\nZoë,y,2,0\nZoë,x,1,3\n",
        "lists.inter": "customer:token;product_seq:token_seq;product:token\nZoë;x,y;z\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="latin-1" if name.endswith("inter") else "utf-8")
        found = read_histories(tmp_path / name, config)
        assert found.to_dict("list") == {"user": ["Zoë", "Zoë"], "item": ["x", "y"]}, name


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("h.csv", "name,thing\na,x\n", "h.csv: needs the columns user and item, or user and items; it has name, thing"),
        ("h.csv", "user,item,time\na,x,noon\n", "h.csv: line 2 has 'noon' as timestamp, allowed is a number"),
        ("h.csv", "\n\nuser,item,time\n\na,x,noon\n", "h.csv: line 5 has 'noon' as timestamp, allowed is a number"),
        ("h.csv", "user,item\na,i1,\n", "h.csv: line 2 has more than the 2 columns that line 1 names"),
        ("h.csv", "user,item\na,i1\na,i2,\n", "h.csv: line 3 has more than the 2 columns that line 1 names"),
        ("h.csv", "user,item\na,i1\n\na\n", "h.csv: line 4 has fewer than the 2 columns that line 1 names"),
        ("h.csv", 'user,item\na,"i1\nb,i2"\n', "h.csv: line 2 has a field that begins with a quote and does not end"),
        ("h.csv", "user,items\na,x y\nb,x\na,z\n", "h.csv: line 4 is another history of user 'a', allowed is one"),
        ("h.jsonl", '{"user": "a", "items": ["x"]}\n{"user": "b"}\n', "h.jsonl: line 2 has no items"),
        ("h.jsonl", "[{]\n", "h.jsonl: cannot be read as jsonl"),
        ("h.xlsx", "", "h.xlsx: allowed are the suffixes .inter, .tsv, .csv, .jsonl"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_histories(tmp_path / name)
    assert message in str(error.value)


def test_each_recommended_item_is_explained_for_itself(checkpoint):
    trained = TrainedModel(checkpoint()[0])
    (found,) = explain_sequences(trained, long_form(u="i3 unknown i7 i9"), topk=2, explainers=["occlusion", "saliency"])
    assert found.history == ["i3", "i7", "i9"] and list(found.attributions) == ["occlusion", "saliency"]
    best, _ = recommend(trained, long_form(u="i3 i7 i9"), topk=2)
    assert found.recommended == best["item"].tolist()
    ids = trained.item_ids(pd.Series(["i3", "i7", "i9"]))
    wanted = torch.from_numpy(trained.item_ids(pd.Series(found.recommended)))
    item_seq = torch.zeros(2, 8, dtype=torch.long)
    item_seq[:, :3] = torch.from_numpy(ids)
    expected = Occlusion(trained.model, target="next").attribute(item_seq, torch.tensor([3, 3]), wanted)
    np.testing.assert_allclose(found.attributions["occlusion"], expected[:, :3].numpy(), atol=1e-5)
    assert found.importance("occlusion").sum(1) == pytest.approx([1, 1], abs=1e-5)
    assert rendering.heatmap(found).axes[0].get_title() == "occlusion"


def test_what_cannot_be_explained_is_said(checkpoint):
    with pytest.raises(ConfigError, match="got a SASRec"):
        explain_sequences(TrainedModel(checkpoint("SASRec")[0]), long_form(u="i3"))
    with pytest.raises(ConfigError, match="oracle"):
        explain_sequences(TrainedModel(checkpoint()[0]), long_form(u="i3"), explainers=["oracle"])


def test_the_data_set_may_have_moved(checkpoint, data_path, tmp_path):
    file, _ = checkpoint()
    state = torch.load(file, weights_only=True)
    state["config"]["final_config_dict"]["data_path"] = "nowhere"
    torch.save(state, tmp_path / "moved.pth")
    with pytest.raises(DataError, match="tell with --data_path"):
        TrainedModel(tmp_path / "moved.pth").interactions  # noqa: B018
    trained = TrainedModel(tmp_path / "moved.pth", data_path)
    assert len(trained.items) == 41 and set(trained.interactions["item"]) <= set(trained.items)


def test_titles_come_from_the_item_file(checkpoint, data_path):
    trained = TrainedModel(checkpoint()[0])
    items = data_path / "tiny" / "tiny.item"
    items.write_text("item_id:token\tmovie_title:token_seq\ni3\tThree Men & a Baby\n", encoding="utf-8")
    try:
        (found,) = explain_sequences(trained, long_form(u="i3 i7"), topk=1)
    finally:
        items.unlink()
    assert found.title("i3") == "Three Men & a Baby" and found.title("i7") == "i7"


@pytest.mark.parametrize(
    "content, told",
    [
        (b'item_id:token\tname:token_seq\ni3\tThree\ni7\t"Seven\n', "tiny.item: line 3 has a field that begins with"),
        (b"item_id:token\tname:token_seq\ni3\tThree\tMen\ni7\tSeven\n", "tiny.item: line 2 has more than the 2"),
        ("item_id:token\tname:token_seq\ni3\tZoë\n".encode("latin-1"), "tiny.item: 'utf-8' codec can't decode"),
        (b"", "tiny.item: No columns to parse from file"),
    ],
)
def test_items_whose_titles_cannot_be_read_are_shown_by_their_ids(checkpoint, data_path, capsys, content, told):
    file, _ = checkpoint()
    items = data_path / "tiny" / "tiny.item"
    items.write_bytes(content)
    try:
        ec4srec.main(["explain", f"--checkpoint={file}", "--items=i3 i7", "--topk=2"])
    finally:
        items.unlink()
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[5:7]] == ["i3", "i7"]
    (warning,) = err.splitlines()
    assert told in warning and warning.endswith("; items are shown by their ids")


def test_titles_are_read_over_a_byte_order_mark_and_blank_lines(tmp_path):
    (tmp_path / "a.item").write_text("\ufeffid:token\ttitle:token_seq\n\ni1\tOne\ni2\t\ni3\n", encoding="utf-8")
    assert read_titles(tmp_path / "a.item", {"field_separator": "\t", "encoding": None}, "id") == {"i1": "One"}


def test_the_command_explains(checkpoint, tmp_path, capsys):
    file, _ = checkpoint()
    ec4srec.main(
        ["explain", f"--checkpoint={file}", "--items=i3 i7", "--topk=2", "--explainer", "occlusion", "attention"]
    )
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "recommended" and shown[1].startswith("   1. i")
    assert shown[3] == "importance of the history for each, in percent (occlusion)"
    shares = np.array([[float(share) for share in line.split()[1:]] for line in shown[5:7]])
    assert [line.split()[0] for line in shown[5:7]] == ["i3", "i7"]
    assert shares.sum(0) == pytest.approx([100, 100], abs=0.11)
    outputs = [str(tmp_path / f"why.{kind}") for kind in ("json", "csv", "html", "png")]
    ec4srec.main(["explain", f"--checkpoint={file}", "--user", "one", "u3", "--topk=2", "--output", *outputs])
    assert capsys.readouterr().out == ""
    found = json.loads((tmp_path / "why.json").read_text())
    assert [each["user"] for each in found] == ["u3", "one"] or [each["user"] for each in found] == ["one", "u3"]
    table = pd.read_csv(tmp_path / "why.csv")
    assert table.groupby(["user", "explainer", "rank"])["importance"].sum().tolist() == pytest.approx([1] * 4, abs=1e-5)
    page = Page((tmp_path / "why.html").read_text(encoding="utf-8"))
    assert sorted(page.texts["h2"]) == ["User one", "User u3"] and len(page.texts["li"]) == 2 * 2
    assert all(header == ["", "1", "2"] and items for header, *items in page.tables.values())
    assert (tmp_path / "why-2.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_recommends(checkpoint, tmp_path, capsys):
    file, _ = checkpoint()
    (tmp_path / "h.csv").write_text("user,items\nx,i3 i7 i99\ny,i99\n")
    ec4srec.main(["recommend", f"--checkpoint={file}", f"--input={tmp_path / 'h.csv'}", "--topk=2"])
    out, told = capsys.readouterr()
    assert out.splitlines()[0] == "user,rank,item,score" and len(out.splitlines()) == 3
    assert told == (
        "1 of 2 users got recommendations\n2 interactions were left out: the model does not know their 1 items\n"
    )
    output = tmp_path / "best.jsonl"
    ec4srec.main(
        ["recommend", f"--checkpoint={file}", f"--input={tmp_path / 'h.csv'}", f"--output={output}", "--quiet"]
    )
    assert capsys.readouterr() == ("", "")
    assert [json.loads(line)["rank"] for line in output.read_text().splitlines()] == list(range(1, 11))


def test_views_of_a_sequence_are_shown_in_the_places_of_its_items():
    settings = {"mu_c": 0.6, "mu_m": 0.3, "mu_r": 0.6, "mu_e": 0.5}
    made = views.augmentations([0.05, 0.40, 0.10, 0.35, 0.20], settings, np.random.default_rng(0))
    assert made["ecrop+"] == [None, 2, None, 4, 5] and made["ecrop-"] == [1, None, 3, None, None]
    assert made["emask+"] == ["[m]", 2, "[m]", 4, 5] and made["emask-"] == [1, "[m]", 3, "[m]", 5]
    assert made["erord+"] in ([1, 2, 3, 4, 5], [3, 2, 1, 4, 5])
    kept = [place for place in made["crop"] if place]
    assert kept == list(range(kept[0], kept[0] + 3))
    assert made["mask"].count("[m]") == 1 and sorted(made["reorder"]) == [1, 2, 3, 4, 5]


def test_the_command_shows_views(checkpoint, capsys):
    ec4srec.main(["views", "--items=a b c d", "--importance", "1", "4", "2", "3"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == [
        "importance",
        "crop",
        "mask",
        "reorder",
        "ecrop+",
        "emask+",
        "erord+",
        "ecrop-",
        "emask-",
    ]
    assert [line.split()[:3] for line in shown[1:]] == [
        ["1", "a", "10.0"],
        ["2", "b", "40.0"],
        ["3", "c", "20.0"],
        ["4", "d", "30.0"],
    ]
    file, _ = checkpoint()
    ec4srec.main(["views", f"--checkpoint={file}", "--user=all"])
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in shown[1:9]] == [f"i{number}" for number in range(30, 38)]
    assert shown[9] == "next item: i38" and shown[10].startswith("rtrl: ") and shown[11].startswith("ertrl+: ")


@pytest.mark.parametrize(
    "given, ids",
    [(["a b c"], ["a", "b", "c"]), (["a", "b", "c"], ["a", "b", "c"]), (["a x", "b  y", "c"], ["a x", "b  y", "c"])],
)
def test_ids_may_hold_spaces(given, ids, capsys):
    ec4srec.main(["views", "--importance", "1", "2", "3", "--items", *given])
    lines = capsys.readouterr().out.splitlines()[1:4]
    assert [id in line for id, line in zip(ids, lines)] == [True] * 3


def test_views_are_drawn_too(checkpoint, tmp_path, capsys):
    file, _ = checkpoint()
    for kind in ("svg", "html"):
        ec4srec.main(["views", f"--checkpoint={file}", "--user=all", f"--output={tmp_path / f'views.{kind}'}"])
    assert capsys.readouterr() == ("", f"written: {tmp_path / 'views.svg'}\nwritten: {tmp_path / 'views.html'}\n")
    texts = texts_of((tmp_path / "views.svg").read_text(encoding="utf-8"))
    assert texts.count("i30") >= 2 and texts.count("[m]") >= 8
    assert {"importance", "crop", "erord+", "emask-"} < set(texts)
    items, others = Page((tmp_path / "views.html").read_text(encoding="utf-8")).tables.values()
    assert "[m]" in {cell for row in items for cell in row} and others[0][1].startswith("rtrl: user ")


def texts_of(svg):
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_what_retrieval_finds_is_shown_with_what_is_in_the_sequence_too():
    shown = views.SequenceViews(
        ["a", "b", "c"],
        [0.25, 0, 0.75],
        {"crop": [None, 2, 3]},
        {"b": "A <long> name"},
        next_item="d",
        retrieved={"rtrl": ("u", ["c", "x"]), "ertrl+": None},
    )
    texts = texts_of(picture(shown))
    # the sequence, what the crop leaves, what is retrieved: long names are told once, items by their numbers
    assert "A <long> name" in texts and [text for text in texts if text.isdigit()] == ["1", "2", "3", "2", "3", "3"]
    assert [text for text in texts if text.endswith("%")] == ["25 %", "0 %", "75 %"]
    (_, items), (caption, others) = Page(rendering.views_html(shown)).tables.items()
    assert [row[0] for row in items] == ["", "1. a", "2. A <long> name", "3. c"]
    assert caption == "Sequences of other users with the next item d; items with a number are above too"
    assert others == [["", "rtrl: user u"], ["1", "3. c"], ["2", "x"]]


EVIL = "<b>\x1b[2J\n\x9b\u202e$x$ & $"
SAFE = printable(EVIL)


def explanation_of(name):
    return Explanation(
        user=name,
        history=[name, "i1"],
        recommended=[name],
        scores=np.array([1.0]),
        attributions={"occlusion": np.array([[3.0, 1.0]])},
        titles={"i1": name},
    )


def test_names_from_files_are_shown_as_text_and_kept_in_data(tmp_path):
    found = [explanation_of(EVIL)]
    assert rendering.text(found[0]).splitlines() == [
        f"user {SAFE}",
        f"   1. {SAFE}  1",
        "importance of the history for each, in percent (occlusion)",
        " " * (len(SAFE) + len(" [i1]") + 2) + "     1",
        f"  {SAFE}       75.0",
        f"  {SAFE} [i1]  25.0",
    ]
    for suffix, write in rendering.WRITERS.items():
        write(tmp_path / f"why{suffix}", found)
    page = Page((tmp_path / "why.html").read_text(encoding="utf-8"))
    (table,) = page.tables.values()
    lines = printable(EVIL, lines=True)
    assert page.texts["h2"] == [f"User {lines}"] and table == [["", "1"], [lines, "75.0"], [lines, "25.0"]]
    assert json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))[0]["user"] == EVIL
    with open(tmp_path / "why.csv", encoding="utf-8", newline="") as file:
        assert [row["recommended"] for row in csv.DictReader(file)] == [EVIL, EVIL]


def test_names_from_files_are_text_in_views_too():
    retrieved = {"rtrl": (EVIL, ["i1", "i3"]), "ertrl+": None}
    shown = views.SequenceViews(["i1", "i2"], [0.25, 0.75], {"crop": [1, None]}, {"i1": EVIL}, "i1", retrieved)
    assert rendering.views_text(shown).splitlines() == [
        " " * (len(SAFE) + 5) + "importance    crop",
        f"  1  {SAFE}      25.0       1",
        f"  2  i2{' ' * (len(SAFE) - 2)}      75.0",
        f"next item: {SAFE}",
        f"rtrl: user {SAFE}: *{SAFE}, i3",
        "ertrl+: no other user has this next item",
        "(* is in the sequence above too)",
    ]
    assert SAFE in texts_of(picture(shown))


def extent(svg):
    """The width and height of a picture, in points."""
    return [float(size) for size in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2]]


def test_no_title_is_cut_and_other_scripts_have_room():
    """Titles are written at 60 degrees over the bars; the picture is as large as they need."""

    def shown(title):
        return picture(views.SequenceViews(["i1", "i2"], [0.5, 0.5], {"crop": [1, 2]}, {"i2": title}))

    short, long, wide = (extent(shown(title)) for title in ("short", 25 * "m", 25 * "漢"))
    title = 25 * 0.974 * 9.5  # DejaVu's m is .974 of the size of the font
    assert long[1] - short[1] > 0.5 * title * math.sin(math.pi / 3) and long[0] > title * math.cos(math.pi / 3)
    assert wide[1] - short[1] > 0.4 * title
    assert max(map(len, texts_of(shown(50 * "m")))) == 30


def test_a_heatmap_has_titles_as_they_are_without_formulas():
    axis = rendering.heatmap(explanation_of("$x$ and $y$")).axes[0]
    axis.figure.canvas.draw()
    label = axis.get_xticklabels()[0]
    assert label.get_text() == "$x$ and $y$" and not label.get_parse_math()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_is_shown_text_and_a_pipe_is_given_data(checkpoint, tmp_path, capsys, monkeypatch):
    file, _ = checkpoint()
    histories = write_csv(tmp_path / "h.csv", [["user", "items"], ["\x1b[31mu", "i3 i7"]])
    ec4srec.main(["recommend", f"--checkpoint={file}", f"--input={histories}", "--topk=1", "--quiet"])
    given = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout", Terminal())
    ec4srec.main(["recommend", f"--checkpoint={file}", f"--input={histories}", "--topk=1", "--quiet"])
    shown = sys.stdout.getvalue()
    assert given.splitlines()[1].startswith("\x1b[31mu,1,") and shown == printable(given, lines=True) != given


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["recommend", "--checkpoint=none.pth", "--input=none.csv"], 1, "none.pth"),
        (["recommend", "--checkpoint={file}", "--input=none.csv"], 1, "none.csv"),
        (["explain", "--checkpoint=none.pth", "--user=u"], 1, "none.pth"),
        (["explain", "--checkpoint={file}", "--user=stranger"], 1, "error: --user: got 'stranger', who is not in tiny"),
        (["explain", "--checkpoint={file}", "--items=unknown"], 1, "error: the model knows no item of these histories"),
        (["explain", "--checkpoint={file}"], 2, "one of the arguments --user --items --input is required"),
        (["explain", "--checkpoint={file}", "--items=i1", "--output=why.doc"], 2, "got why.doc, allowed are"),
        (["views", "--checkpoint={file}"], 1, "error: --user: missing"),
        (["views", "--checkpoint={file}", "--user=one"], 1, "error: user 'one' has no training instance in tiny"),
        (["views", "--items=a b", "--importance", "1"], 1, "got 1 numbers, allowed is one for each of 2 items"),
        (["recommend", "--checkpoint={file}", "--input=h.csv", "--topk=0"], 2, "got 0, allowed is an integer >= 1"),
    ],
)
def test_a_mistake_ends_in_one_line(checkpoint, capsys, arguments, status, message):
    file, _ = checkpoint()
    with pytest.raises(SystemExit) as end:
        ec4srec.main([argument.format(file=file) for argument in arguments])
    assert end.value.code == status
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", ["explain", "recommend", "views"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as end:
        ec4srec.main([command, "--help"])
    assert end.value.code == 0 and f"  ec4srec {command} --" in capsys.readouterr().out


@pytest.mark.parametrize("whose", ["anchor", "candidate"])
def test_retrieval_is_shown_as_the_training_retrieves(whose, experiment, monkeypatch):
    small = experiment(ertrl_score=whose, ertrl_max_candidates=7)
    small.fit()
    trained = TrainedModel(small.trainer.saved_model_file)
    built = []
    monkeypatch.setattr(views, "GuidedRetrieval", lambda *given: built.append(given) or GuidedRetrieval(*given))
    dataset = trained.train_dataset
    index = SameTargetIndex(*(dataset.inter_feat[field] for field in (dataset.iid_field, dataset.uid_field)))
    row = int(index.n_candidates.argmax())
    user = dataset.id2token(dataset.uid_field, int(dataset.inter_feat[dataset.uid_field][row]))
    views.views_of_user(trained, user, rng=np.random.default_rng(1))
    ((_, sequences, importance, _, score, at_most, _),) = built
    assert (score, at_most) == (whose, 7)
    last = (dataset.inter_feat[dataset.uid_field] == dataset.token2id(dataset.uid_field, user)).nonzero()[-1]
    same = dataset.inter_feat[dataset.iid_field] == dataset.inter_feat[dataset.iid_field][last]
    same_target = same.nonzero(as_tuple=True)[0]
    assert len(importance) == len(same_target)  # no other instance is explained or compared
    explained = importance.rows(torch.arange(len(importance))).abs().sum(1) > 0
    assert explained.tolist() == (same_target == last).tolist() if whose == "anchor" else explained.all()
    item_seq, lengths = sequences(torch.arange(len(importance)))
    assert torch.equal(item_seq, dataset.item_sequences(same_target)[0])
    expected = Occlusion(trained.model).attribute(item_seq, lengths)
    torch.testing.assert_close(importance.rows(torch.arange(len(importance)))[explained], expected[explained])
