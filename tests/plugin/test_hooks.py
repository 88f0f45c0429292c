"""What importing changes in RecBole: the table of hooks, nothing beside it, and no RecBole without them."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import hooks_page
import pytest
import recbole
import recbole.quick_start
import torch
from recbole.trainer import Trainer

import recbole_ec4srec
from recbole_ec4srec.config.variants import ALIASES, VARIANTS
from recbole_ec4srec.plugin import compat, hooks
from recbole_ec4srec.plugin.hooks import ADDED, HOOKS, OVERRIDDEN, REPLACED, WRAPPED
from recbole_ec4srec.training.distributed import Synchronised
from recbole_ec4srec.training.resume import Resumable

ROOT = Path(recbole_ec4srec.__file__).parents[1]
PRESENT = [hook for hook in HOOKS if hook.kind != ADDED]


def ids(hook):
    return f"{hook.kind} {hook.name}"


# --- a RecBole that is another ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", PRESENT, ids=ids)
def test_a_recbole_without_it_is_refused_in_a_line_that_names_it(hook, monkeypatch):
    monkeypatch.delattr(hook.owner, hook.attribute)
    takes = "" if hook.takes is None else f"({hook.takes})"
    with pytest.raises(ImportError) as refused:
        hooks.register()
    assert str(refused.value) == (
        f"recbole_ec4srec was written for RecBole 1.2.0 and 1.2.1, with {hook.name}{takes}, which is missing in "
        f"RecBole {recbole.__version__}; install one of those versions"
    )


@pytest.mark.parametrize("hook", [hook for hook in PRESENT if hook.takes is not None], ids=ids)
def test_a_recbole_in_which_it_takes_other_arguments_is_refused_with_both(hook, monkeypatch):
    monkeypatch.setattr(hook.owner, hook.attribute, lambda others: None)
    with pytest.raises(ImportError) as refused:
        hooks.register()
    assert f"with {hook.name}({hook.takes}), which is (others) in RecBole" in str(refused.value)


def test_a_recbole_without_a_module_or_a_class_is_refused_and_what_a_library_lacks_is_not_blamed_on_it(monkeypatch):
    hook = next(hook for hook in HOOKS if hook.path == "Trainer._check_nan")
    with monkeypatch.context() as patch:
        patch.delattr(importlib.import_module(hook.module), "Trainer")
        with pytest.raises(
            ImportError, match=r"recbole\.trainer\.trainer\.Trainer\.fit\(.*, which is missing in RecBole"
        ):
            hooks.register()
    gone = hooks.Hook("recbole.gone", "function", WRAPPED, "", None, "")
    with pytest.raises(ImportError, match=r"recbole\.gone\.function\(\), which is missing in RecBole"):
        gone.check()
    monkeypatch.setattr(importlib, "import_module", lambda name: exec("import library_of_somebody"))
    with pytest.raises(ModuleNotFoundError, match="library_of_somebody"):
        hook.check()


# RecBole's quick start alone wants Ray, which need not be there.
WITH_RAY = """
import importlib.util, sys, types
if not importlib.util.find_spec("ray"):
    sys.modules["ray"] = types.ModuleType("ray")
    sys.modules["ray"].tune = None
"""

# Each is removed before the package is imported for the first time, in a process of its own.
WITHOUT = f"""{WITH_RAY}
import importlib, os, sys, traceback
import numpy as np
np.complex_, np.float_, np.unicode_ = np.complex128, np.float64, np.str_
hooks = [line.split() for line in sys.stdin.read().splitlines()]
for module in ("recbole.quick_start", "recbole.model.sequential_recommender", "recbole.model.general_recommender",
               "recbole.model.context_aware_recommender", "recbole.model.knowledge_aware_recommender"):
    importlib.import_module(module)
for module, path in hooks:
    if os.fork():
        os.wait()
        continue
    *owners, attribute = path.split(".")
    owner = importlib.import_module(module)
    for name in owners:
        owner = getattr(owner, name)
    delattr(owner, attribute)
    try:
        import recbole_ec4srec
        told = "nothing"
    except Exception as error:
        told = traceback.format_exception_only(type(error), error)[-1].rstrip()
    print(f"{{module}}.{{path}}\\t{{told}}", flush=True)
    os._exit(0)
"""


def imported_without(some):
    command = [sys.executable, "-c", WITHOUT]
    rows = "\n".join(sorted({f"{hook.module} {hook.path}" for hook in some}))
    done = subprocess.run(command, input=rows, capture_output=True, text=True, check=True)
    return dict(line.split("\t") for line in done.stdout.splitlines())


def check_all_told(some):
    told = imported_without(some)
    assert set(told) == {hook.name for hook in some}
    for hook in some:
        assert told[hook.name].startswith("ImportError: "), told[hook.name]
        assert hook.attribute in told[hook.name]


def test_a_fresh_process_tells_it():
    check_all_told(
        [hook for hook in PRESENT if hook.path in ("Trainer._check_nan", "run_recboles", "Dataset._load_feat")]
    )


@pytest.mark.slow
def test_a_fresh_process_tells_each():
    check_all_told(PRESENT)


# --- nothing beside the table -----------------------------------------------------------------------------------------

CHANGED = f"""{WITH_RAY}
import importlib, json, pkgutil, sys
import numpy as np
np.complex_, np.float_, np.unicode_ = np.complex128, np.float64, np.str_
import torch
import recbole

for found in pkgutil.walk_packages(recbole.__path__, "recbole."):
    try:
        importlib.import_module(found.name)
    except ImportError:  # of libraries that some models need
        pass

def known():
    found = {{}}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "recbole":
            found[name] = dict(vars(module))
            for kind in vars(module).values():
                if isinstance(kind, type) and kind.__module__ == name:
                    found[f"{{name}}.{{kind.__qualname__}}"] = dict(vars(kind))
    return found

before, of_torch = known(), {{name: dict(vars(sys.modules[name])) for name in ("torch", "torch.serialization")}}
import recbole_ec4srec
after, missing = known(), object()
changed = [
    f"{{owner}}.{{name}}"
    for owner, names in before.items()
    for name in {{**names, **after[owner]}}
    if names.get(name, missing) is not after[owner].get(name, missing)
]
changed += [f"{{owner}}.{{name}}" for owner, names in of_torch.items() for name in ("load", "save")
            if vars(sys.modules[owner])[name] is not names[name]]
print(json.dumps([changed, sorted(set(after) - set(before))]))
"""


def test_importing_changes_recbole_as_the_table_tells_and_torch_not_at_all():
    done = subprocess.run([sys.executable, "-c", CHANGED], capture_output=True, text=True, check=True)
    changed, modules = ast.literal_eval(done.stdout.splitlines()[-1])
    names = [*VARIANTS, *ALIASES]
    added = {hook.name.format(name=name) for hook in HOOKS if hook.kind == ADDED for name in names}
    by_name = {f"recbole.model.sequential_recommender.{name.lower()}" for name in names}
    assert set(changed) == {hook.name for hook in HOOKS if hook.kind in (WRAPPED, REPLACED)} | {
        name for name in added if not name.startswith("recbole.model.")
    }
    assert set(modules) == by_name
    assert len(changed) == len(set(changed))


def classes():
    """The classes of the package, and of each those of RecBole's that it is derived from or mixed with."""
    for found in pkgutil.walk_packages(recbole_ec4srec.__path__, "recbole_ec4srec."):
        if found.name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(found.name)).values():
            if isinstance(kind, type) and kind.__module__ == found.name:
                above = Trainer.__mro__ if kind in (Resumable, Synchronised) else kind.__mro__[1:]
                yield kind, [other for other in above if other.__module__.split(".")[0] == "recbole"]


def test_every_method_of_recboles_that_a_class_of_ours_overrides_is_in_the_table():
    overridden = {
        (kind, owner.__module__, f"{owner.__name__}.{name}")
        for kind, theirs in classes()
        for name, value in vars(kind).items()
        if inspect.isroutine(value) or isinstance(value, (property, classmethod, staticmethod))
        for owner in [next((owner for owner in theirs if name in vars(owner)), None)]
        if owner is not None
    }
    assert overridden == {
        (kind, hook.module, hook.path) for hook in HOOKS if hook.kind == OVERRIDDEN for kind in hook.by
    }
    assert {kind for kind, theirs in classes() if theirs} >= {kind for kind, _, _ in overridden}


def test_no_thing_is_in_the_table_twice_and_each_has_a_reason():
    assert len({ids(hook) for hook in HOOKS}) == len(HOOKS)
    for hook in HOOKS:
        assert hook.why
        assert bool(hook.until) == (hook.kind != OVERRIDDEN)


def test_registering_twice_changes_nothing():
    before = [hook.value for hook in PRESENT]
    hooks.register()
    assert [hook.value for hook in PRESENT] == before


# --- torch, as the modules of RecBole see it --------------------------------------------------------------------------


def test_every_function_of_recboles_that_reads_or_writes_checkpoints_sees_our_torch():
    folder, calling = Path(recbole.__file__).parent, set()
    for file in folder.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "torch.load(" in text or "torch.save(" in text:
            calling.add(".".join(["recbole", *file.relative_to(folder).with_suffix("").parts]))
    named = {hook.module for hook in HOOKS if hook.path == "torch"}
    assert calling == named | {"recbole.quick_start.quick_start"}  # which imports torch in load_data_and_model


def test_what_a_function_imports_is_our_torch_and_nothing_else_is_another():
    def function():
        import json

        import torch
        import torch.nn as layers
        from torch import load

        return torch, load, layers, json, HOOKS

    found = compat.with_our_torch(function)()
    assert found == (compat.TORCH, compat.TORCH.load, torch.nn, importlib.import_module("json"), HOOKS)
    assert function()[:2] == (torch, torch.load)


def test_our_torch_is_torch_but_for_two_functions(tmp_path):
    assert isinstance(compat.TORCH, types.ModuleType)
    assert compat.TORCH.Tensor is torch.Tensor
    assert compat.TORCH.nn is torch.nn
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        compat.TORCH.nothing_of_this_name  # noqa: B018
    compat.TORCH.save({"weights": torch.ones(2)}, tmp_path / "plain.pth", pickle_protocol=2)
    assert torch.load(tmp_path / "plain.pth", weights_only=True)["weights"].sum() == 2
    assert compat.TORCH.load(tmp_path / "plain.pth", weights_only=True)["weights"].sum() == 2


def test_the_page_of_hooks_is_current():
    assert (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8") == hooks_page.page()
