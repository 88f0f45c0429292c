"""The page about what importing changes in RecBole: ``python tools/hooks_page.py > docs/hooks.md``."""

from recbole_ec4srec.plugin.hooks import ADDED, HOOKS, OVERRIDDEN, REPLACED, WRAPPED, WRITTEN_FOR
from recbole_ec4srec.reporting.markdown import markdown_table

KINDS = {
    WRAPPED: "ours is called in its place, with it and its arguments",
    REPLACED: "ours stands in its place",
    ADDED: "RecBole has no such name; `{name}` is that of each model, in each of its spellings",
    OVERRIDDEN: "a method that classes of ours override; RecBole's own classes are as they were",
}

PAGE = """\
# What importing changes in RecBole

Written by `python tools/hooks_page.py` from `plugin/hooks.py`, the table that the package reads. RecBole has no plugin
mechanism, so `import recbole_ec4srec` puts functions and names of ours into it: those below, and no others, which the
tests compare before and after. They were written for {written_for}. A RecBole in which one of them
is missing or takes other arguments is refused when the package is imported, in a line that names it.

Outside RecBole, for it needs them: numpy gets back `complex_`, `float_` and `unicode_`, scipy's `dok_matrix` its
`_update`; anomaly detection, which importing RecBole switches on, is switched off; known warnings of libraries are left
out. `torch.load` and `torch.save` are PyTorch's own; modules of RecBole that read or write checkpoints see a `torch`
with others."""


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
