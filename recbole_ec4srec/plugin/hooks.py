"""What of RecBole is another after ``import recbole_ec4srec``, and what of it our classes override: one table.

RecBole has no plugin mechanism and promises nothing of its inside, so each thing of its that we change or rely upon to
be called has a row, with the parameters that it was written for. :func:`register` compares all of them with the RecBole
that is there before it changes anything: a RecBole in which one is gone, or takes other arguments, is refused by name,
where otherwise a check or a number would vanish in silence.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from dataclasses import dataclass

import recbole

from recbole_ec4srec.data import EC4SRecDataset, EC4SRecTrainDataLoader, checks, files, identity, order, presplit, seen
from recbole_ec4srec.data.dataloader import TrainingBatch, WithViews
from recbole_ec4srec.data.dataset import SequenceBatch, Table
from recbole_ec4srec.model import EC4SRec
from recbole_ec4srec.plugin import compat, registry
from recbole_ec4srec.storage import checkpoint
from recbole_ec4srec.training import distributed, loaders
from recbole_ec4srec.training.distributed import Synchronised
from recbole_ec4srec.training.resume import Resumable
from recbole_ec4srec.training.trainer import EC4SRecTrainer

WRITTEN_FOR = "RecBole 1.2.0 and 1.2.1"

#: Ours is called with RecBole's function and its arguments, in its place.
WRAPPED = "wrapped"
#: Ours stands in its place; where it is a function, RecBole's is its ``__wrapped__``.
REPLACED = "replaced"
#: RecBole has no such name; ``{name}`` is that of a model, in each of its spellings.
ADDED = "added"
#: A method that classes of ours override; RecBole's own class is as it was.
OVERRIDDEN = "overridden"

PLUGINS = "it takes plugins"
SAYS = "it says which key, file or line is wrong"


@dataclass(frozen=True)
class Hook:
    """One thing of RecBole's.

    Attributes:
        module: the module that has it.
        path: its name there, ``Class.method`` or ``function``.
        kind: :data:`WRAPPED`, :data:`REPLACED`, :data:`ADDED` or :data:`OVERRIDDEN`.
        takes: the names of its parameters, with commas; None where they do not matter.
        by: ours: the wrapper ``(original, *args)``, what stands in its place, or the classes that override it.
        why: what for.
        until: when RecBole does this itself, it can go; empty of a method, for classes are there to be derived from.
    """

    module: str
    path: str
    kind: str
    takes: str | None
    by: object
    why: str
    until: str = ""

    @property
    def name(self) -> str:
        """Of the attribute, with that of its module."""
        return f"{self.module}.{self.path}"

    @property
    def attribute(self) -> str:
        """Its name in :attr:`owner`."""
        return self.path.rpartition(".")[2]

    @property
    def owner(self):
        """The module or the class that has it.

        Raises:
            ImportError: RecBole has none, or this attribute is not in it.
        """
        try:
            owner = found = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if not self.module.startswith(error.name or " "):  # a library that RecBole needs
                raise
            raise self._refused("is missing in") from None
        for name in self.path.split("."):
            if name not in vars(found):  # what a class inherits is another class's
                raise self._refused("is missing in")
            owner, found = found, vars(found)[name]
        return owner

    @property
    def value(self):
        """What RecBole has there now."""
        return getattr(self.owner, self.attribute)

    def check(self) -> None:
        """See to it that RecBole has it.

        Raises:
            ImportError: it has not, or its parameters are others.
        """
        value = self.value
        if self.takes is not None:
            found = f"({', '.join(inspect.signature(value).parameters)})" if callable(value) else repr(value)
            if found != f"({self.takes})":
                raise self._refused(f"is {found} in")

    def _refused(self, how):
        takes = "" if self.takes is None else f"({self.takes})"
        return ImportError(
            f"recbole_ec4srec was written for {WRITTEN_FOR}, with {self.name}{takes}, which {how} RecBole "
            f"{recbole.__version__}; install one of those versions"
        )

    def apply(self) -> None:
        """Put ours in its place, once."""
        original = self.value
        if self.kind == WRAPPED and not getattr(original, "_recbole_ec4srec", False):
            setattr(self.owner, self.attribute, _wrapped(original, self.by))
        if self.kind == REPLACED and original is not self.by:
            if callable(self.by):
                self.by.__wrapped__ = original
            setattr(self.owner, self.attribute, self.by)


def _wrapped(original, wrapper):
    @functools.wraps(original)
    def wrapped(*args, **kwargs):
        return wrapper(original, *args, **kwargs)

    wrapped._recbole_ec4srec = True
    return wrapped


_DATASET = "recbole.data.dataset.dataset"
_SEQUENTIAL = "recbole.data.dataset.sequential_dataset"
_DATA = "recbole.data.utils"
_RECOMMENDER = "recbole.model.abstract_recommender"
_TRAINER = "recbole.trainer.trainer"
_QUICK_START = "recbole.quick_start.quick_start"
#: Modules that read or write checkpoints.
_WITH_CHECKPOINTS = (
    _TRAINER,
    "recbole.model.general_recommender.convncf",
    "recbole.model.general_recommender.nais",
    "recbole.model.general_recommender.neumf",
    "recbole.model.general_recommender.ract",
    "recbole.model.context_aware_recommender.kd_dagfm",
    "recbole.model.sequential_recommender.s3rec",
)
_TRAINERS = [EC4SRecTrainer, Resumable, Synchronised]

_FIT = "self, train_data, valid_data, verbose, saved, show_progress, callback_fn"
_EVALUATE = "self, eval_data, load_best_model, model_file, show_progress"
_TRAIN_EPOCH = "self, train_data, epoch_idx, loss_func, show_progress"
_OUTPUT = "self, epoch_idx, s_time, e_time, losses"
_CUSTOM = "recbole.data.dataset.customized_dataset"
_LOADERS = "recbole.data.dataloader.general_dataloader"
_LEAVE_OUT = "self, grouped_index, leave_one_num"
_INTERNAL = "self, model, model_class, dataset"

_BY_NAME = "a model, its data set and its trainer are found by name"
_REFUSED = "what is refused in words is a ConfigError or a DataError"
_CANNOT_READ = "a file that cannot be read is named"
_TEXT = "a text that Python cannot evaluate stays a text"
_SPELLINGS = "the paper's spellings of models; the nearest to an unknown one is told"
_SETTINGS = "settings are checked; those that nobody gave do not stand in the way"
_SEEN = "repeatable: False works for sequential models"
_EXACT = "times that 32 bits cannot tell apart keep their order"
_SPLIT = "items of files that are split already may have any name"
_SHARE = "loaders of one of several processes are not taken for all; a training keeps its random numbers"
_SAME_DATA = "a model is used with the ids that it was trained on"
_CHECKPOINT = "checkpoints are data, of which no code is run"
_RESUME = "training can resume; of several processes all have the same metrics"
_PROCESSES = "several processes work without GPUs, and the first alone writes"
_SPAWNED = "a process that is started for --nproc knows our models"

_RANKS = "it leaves out what the user has had"
_EVAL = "it expects every exception there"
_ISSUE = "its issue 2204 is solved"
_KEEPS = "it keeps the ids, and compares them"
_PLAIN = "it stores plain values"
_CPU = "its processes work on a CPU"


def _hooks(kind, module, owner, *rows):
    """Hooks of one owner: the name, the parameters, what is ours, why, and when it can go of each."""
    return [Hook(module, f"{owner}.{name}" if owner else name, kind, *rest) for name, *rest in rows]


def _by_name(kind, modules, name, *rest):
    """Hooks of one function that several modules have imported by its name."""
    return [Hook(module, name, kind, *rest) for module in modules]


_WRAPPERS = (
    *_hooks(
        WRAPPED,
        "recbole.config.configurator",
        "Config",
        ("_load_config_files", "self, file_list", registry.load_config_files, _CANNOT_READ, SAYS),
        ("_convert_config_dict", "self, config_dict", registry.convert_config_dict, _TEXT, _EVAL),
        ("_load_cmd_line", "self", registry.in_our_words(SyntaxError), _REFUSED, SAYS),
        ("_get_model_and_dataset", "self, model, dataset", registry.get_model_and_dataset, _SPELLINGS, PLUGINS),
        ("_load_internal_config_dict", _INTERNAL, registry.load_internal_config_dict, "our property files", PLUGINS),
        ("_get_final_config_dict", "self", registry.get_final_config_dict, _SETTINGS, "its defaults work, and " + SAYS),
        ("_init_device", "self", distributed.init_device, _PROCESSES, _CPU),
        ("_set_default_parameters", "self", registry.set_default_parameters, f"{_REFUSED}; {_SEEN}", SAYS),
    ),
    *_hooks(
        WRAPPED,
        _DATASET,
        "Dataset",
        ("_from_scratch", "self", checks.from_scratch, _REFUSED, SAYS),
        ("_download", "self", checks.download, "a data set that is not there is named", SAYS),
        ("_load_data", "self, token, dataset_path", checks.load_data, "ids and times have the right types", SAYS),
        ("_load_feat", "self, filepath, source", files.load_feat, "files are read as they look, or refused", SAYS),
        ("_load_inter_feat", "self, token, dataset_path", order.load_interactions, _EXACT, _ISSUE),
        ("_data_filtering", "self", checks.data_filtering, "filters that leave too little are named", SAYS),
        ("_remove_duplication", "self", order.remove_duplication, _EXACT, _ISSUE),
        ("_reset_index", "self", checks.reset_index, f"filters that leave too little are named; {_EXACT}", SAYS),
        ("_user_item_feat_preparation", "self", identity.number_features, _SAME_DATA, _KEEPS),
        ("sort", "self, by, ascending", order.sort, _EXACT, _ISSUE),
        ("build", "self", checks.build, "a split that leaves nothing to train or to test on is named", SAYS),
    ),
    *_hooks(
        WRAPPED,
        _SEQUENTIAL,
        "SequentialDataset",
        ("_benchmark_presets", "self", presplit.benchmark_presets, _SPLIT, "it asks for ITEM_ID_FIELD there"),
        ("data_augmentation", "self", seen.make_instances, _SEEN, _RANKS),
    ),
    *_hooks(WRAPPED, _CUSTOM, "DIENDataset", ("data_augmentation", "self", seen.make_instances, _SEEN, _RANKS)),
    *_hooks(
        WRAPPED, _LOADERS, "FullSortEvalDataLoader", ("collate_fn", "self, index", seen.full_ranking, _SEEN, _RANKS)
    ),
    *_hooks(
        WRAPPED,
        _DATA,
        "",
        ("get_dataloader", "config, phase", registry.get_dataloader, "our models are trained with views", PLUGINS),
        ("save_split_dataloaders", "config, dataloaders", loaders.save_split_dataloaders, _SHARE, "it saves copies"),
        ("load_split_dataloaders", "config", loaders.load_split_dataloaders, _SHARE, "it saves no share"),
    ),
    *_by_name(
        WRAPPED,
        (_DATA, "recbole.data", _QUICK_START),
        "data_preparation",
        "config, dataset",
        loaders.data_preparation,
        "loaders that were saved of other data are refused",
        _KEEPS,
    ),
    *_hooks(
        WRAPPED,
        _TRAINER,
        "",
        ("Trainer.fit", _FIT, registry.fit, _SAME_DATA, _KEEPS),
        (
            "Trainer.evaluate",
            _EVALUATE,
            compat.evaluated,
            "no data gives a result like any other",
            "it gives one itself",
        ),
        ("get_tensorboard", "logger", distributed.get_tensorboard, _PROCESSES, _CPU),
        ("DistributedDataParallel", None, distributed.data_parallel, _PROCESSES, _CPU),
    ),
    *_hooks(
        WRAPPED,
        "recbole.evaluator.collector",
        "Collector",
        (
            "get_data_struct",
            "self",
            compat.collected,
            "ItemCoverage and the like work",
            "it moves tensors alone to the CPU",
        ),
    ),
    *_hooks(
        WRAPPED,
        _QUICK_START,
        "",
        ("get_trainer", "model_type, model_name", registry.get_trainer, _RESUME, PLUGINS),
        ("init_logger", "config", distributed.init_logger, _PROCESSES, _CPU),
    ),
    *_by_name(
        WRAPPED,
        (_QUICK_START, "recbole.quick_start"),
        "load_data_and_model",
        "model_file",
        registry.load_data_and_model,
        f"{_CHECKPOINT}; {_SAME_DATA}",
        f"{_PLAIN}, and the ids",
    ),
    *_hooks(
        WRAPPED,
        _RECOMMENDER,
        "AbstractRecommender",
        ("other_parameter", "self", checkpoint.other_parameter, _CHECKPOINT, _PLAIN),
        ("load_other_parameter", "self, para", checkpoint.load_other_parameter, _CHECKPOINT, _PLAIN),
    ),
    *_by_name(
        WRAPPED,
        ("recbole.utils", "recbole.utils.utils", "recbole.utils.logger", _TRAINER, _DATA, _DATASET),
        "ensure_dir",
        "dir_path",
        compat.ensure_dir,
        "two trainings that start at once in a new folder do not both make it",
        "it passes exist_ok",
    ),
    *_by_name(
        WRAPPED,
        ("recbole.utils.utils", "recbole.utils.logger", _TRAINER),
        "get_local_time",
        "",
        compat.get_local_time,
        "trainings that start in the same second have files of their own",
        "names of files have more than the time in them",
    ),
)

_REPLACEMENTS = (
    Hook(_QUICK_START, "run_recboles", REPLACED, "rank, args", distributed.run_recboles, _SPAWNED, PLUGINS),
    *_by_name(REPLACED, _WITH_CHECKPOINTS, "torch", None, compat.TORCH, _CHECKPOINT, _PLAIN),
)

_NAMES = (
    Hook("recbole.model.sequential_recommender", "{name}", ADDED, None, EC4SRec, _BY_NAME, PLUGINS),
    Hook("recbole.data.dataset", "{name}Dataset", ADDED, None, EC4SRecDataset, _BY_NAME, PLUGINS),
    Hook("recbole.trainer", "{name}Trainer", ADDED, None, EC4SRecTrainer, _BY_NAME, PLUGINS),
)

_OVERRIDES = (
    *_hooks(
        OVERRIDDEN,
        _DATASET,
        "Dataset",
        ("_download", "self", [EC4SRecDataset], "nothing is downloaded"),
        ("_grouped_index", "self, group_by_list", [EC4SRecDataset], "users' rows are arrays"),
        ("_split_index_by_leave_one_out", _LEAVE_OUT, [EC4SRecDataset], "all users are split at once"),
        ("__getitem__", "self, index, join", [EC4SRecDataset], "windows are cut per batch"),
    ),
    *_hooks(
        OVERRIDDEN,
        _SEQUENTIAL,
        "SequentialDataset",
        ("data_augmentation", "self", [EC4SRecDataset], "each interaction is kept once"),
        ("inter_matrix", "self, form, value_field", [EC4SRecDataset], "of the interactions that are kept once"),
    ),
    *_hooks(
        OVERRIDDEN,
        "recbole.data.interaction",
        "Interaction",
        ("__init__", "self, interaction", [SequenceBatch, TrainingBatch], "a batch has its lengths on the host"),
        ("to", "self, device, selected_field", [SequenceBatch, TrainingBatch], "the lengths stay there"),
        ("__getitem__", "self, index", [Table, SequenceBatch], "rows without a Python list; rows keep their phase"),
    ),
    *_hooks(
        OVERRIDDEN,
        _LOADERS,
        "TrainDataLoader",
        ("__init__", "self, config, dataset, sampler, shuffle", [WithViews], "there are views to make"),
        ("update_config", "self, config", [WithViews], "views follow the settings"),
        ("collate_fn", "self, index", [EC4SRecTrainDataLoader], "a batch has views"),
    ),
    *_hooks(
        OVERRIDDEN,
        "recbole.data.dataloader.abstract_dataloader",
        "AbstractDataLoader",
        ("__iter__", "self", [WithViews], "epochs are counted"),
    ),
    *_hooks(
        OVERRIDDEN,
        _RECOMMENDER,
        "",
        ("SequentialRecommender.__init__", "self, config, dataset", [EC4SRec], "the model has a backbone"),
        ("AbstractRecommender.calculate_loss", "self, interaction", [EC4SRec], "the losses of the paper"),
        ("AbstractRecommender.predict", "self, interaction", [EC4SRec], "scores of the batch's items"),
        ("AbstractRecommender.full_sort_predict", "self, interaction", [EC4SRec], "scores of all items"),
    ),
    *_hooks(
        OVERRIDDEN,
        _TRAINER,
        "Trainer",
        ("__init__", "self, config, model", _TRAINERS, "a schedule, a state, one name of the best model"),
        ("fit", _FIT, _TRAINERS, "a state after each epoch, processes that wait for the best model"),
        ("evaluate", _EVALUATE, [Synchronised], "each user is evaluated once"),
        ("_train_epoch", _TRAIN_EPOCH, [EC4SRecTrainer], "updates at the start of scheduled epochs"),
        ("_valid_epoch", "self, valid_data, show_progress", [EC4SRecTrainer, Resumable], "its metrics are kept"),
        ("_check_nan", "self, loss", [EC4SRecTrainer], "a loss that is not finite is named, with its parts"),
        ("_save_checkpoint", "self, epoch, verbose, kwargs", [Resumable], "the best model is always a whole file"),
        ("_generate_train_loss_output", _OUTPUT, [EC4SRecTrainer], "the log names the parts of the loss"),
        ("_add_train_loss_to_tensorboard", "self, epoch_idx, losses, tag", [EC4SRecTrainer], "tensorboard does, too"),
        ("_map_reduce", "self, result, num_sample", [Synchronised], "metrics are of all users already"),
    ),
)

HOOKS = (*_NAMES, *_WRAPPERS, *_REPLACEMENTS, *_OVERRIDES)


def register() -> None:
    """Make RecBole's own entry points know our models; safe to call twice.

    Raises:
        ImportError: this version of RecBole lacks something in :data:`HOOKS`; it is named, and nothing was changed.
    """
    present = [hook for hook in HOOKS if hook.kind != ADDED]
    for hook in present:
        hook.check()
    registry.register_variants()
    for hook in present:
        hook.apply()
