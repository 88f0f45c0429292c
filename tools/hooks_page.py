"""The page about what importing changes in RecBole: ``python tools/hooks_page.py > docs/hooks.md``."""

from recbole_ec4srec.plugin.hooks import ADDED, HOOKS, OVERRIDDEN, REPLACED, WRAPPED, WRITTEN_FOR
from recbole_ec4srec.reporting.markdown import markdown_table

KINDS = {
    WRAPPED: "ours is called in its place, with RecBole's function and its arguments",
    REPLACED: "ours takes its place",
    ADDED: "RecBole has no such name; `{name}` is that of each model, in each of its spellings",
    OVERRIDDEN: "a method that our classes override; RecBole's own classes are unchanged",
}

PAGE = """\
# What importing changes in RecBole

Written by `python tools/hooks_page.py` from `plugin/hooks.py`, the table that the package reads. RecBole has no plugin
mechanism, so `import recbole_ec4srec` puts its own functions and names into it. This is the complete list: the tests
compare RecBole before and after the import. It was written for {written_for}. If one of them is missing in the
installed RecBole, or takes other arguments, the import ends with an error that names it.

Outside RecBole: numpy gets back `complex_`, `float_` and `unicode_`, and scipy's `dok_matrix` its `_update`, because
RecBole needs them. Anomaly detection, which importing RecBole switches on, is switched off. Known warnings of libraries
are not shown. `torch.load` and `torch.save` are unchanged; only modules of RecBole that read or write checkpoints get
others."""


def page():
    """docs/hooks.md."""
    lines = [PAGE.format(written_for=WRITTEN_FOR)]
    for kind, meaning in KINDS.items():
        rows = [hook for hook in HOOKS if hook.kind == kind]
        last = "by" if kind == OVERRIDDEN else "can go when"
        lines += ["", f"## {kind.capitalize()}: {len(rows)}", "", f"{meaning[0].upper()}{meaning[1:]}.", ""]
        lines += markdown_table(["of RecBole", "why", last], [_cells(hook) for hook in rows])
    return "\n".join(lines) + "\n"


def _cells(hook):
    told = ", ".join(f"`{by.__name__}`" for by in hook.by) if hook.kind == OVERRIDDEN else hook.until
    takes = "" if hook.takes is None else f"({hook.takes})"
    return [f"`{hook.name}{takes}`", hook.why, told]


if __name__ == "__main__":
    print(page(), end="")
