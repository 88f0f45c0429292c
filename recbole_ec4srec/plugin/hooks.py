"""What of RecBole is different after ``import recbole_ec4srec``, and what of it our classes override: one table.

RecBole has no plugin mechanism and promises nothing about its internals, so everything of it that we change, or rely on
being called, has a row, with the parameters that it was written for. :func:`register` compares all rows with the
installed RecBole before it changes anything. If something is missing, or takes other arguments, the import ends with an
error that names it; otherwise a check or a number could be lost without a message.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import recbole

from recbole_ec4srec.data import EC4SRecDataset, EC4SRecTrainDataLoader, checks, files, identity, order, presplit, seen
from recbole_ec4srec.data.dataloader import (
    EC4SRecSequencesTrainDataLoader,
    SequencesTrainDataLoader,
    TrainingBatch,
    WithViews,
)
from recbole_ec4srec.data.dataset import SequenceBatch, Table
from recbole_ec4srec.model import EC4SRec
from recbole_ec4srec.plugin import compat, registry
from recbole_ec4srec.storage import checkpoint
from recbole_ec4srec.training import distributed, loaders, sharing, tracking
from recbole_ec4srec.training.distributed import Synchronised
from recbole_ec4srec.training.protocols import Judged, TopkCollector
from recbole_ec4srec.training.resume import Resumable
from recbole_ec4srec.training.trainer import EC4SRecTrainer

WRITTEN_FOR = "RecBole 1.2.0 and 1.2.1"

#: Ours is called in its place, with RecBole's function and its arguments.
WRAPPED = "wrapped"
#: Ours takes its place; if it is a function, RecBole's is its ``__wrapped__``.
REPLACED = "replaced"
#: RecBole has no such name; ``{name}`` is the name of a model, in each of its spellings.
ADDED = "added"
#: A method that our classes override; RecBole's own class is unchanged.
OVERRIDDEN = "overridden"

_MARK = "_recbole_ec4srec"


@dataclass(frozen=True)
class Hook:
    """One attribute of RecBole.

    Attributes:
        module: the module that has it.
        path: its name there, ``Class.method`` or ``function``.
        kind: :data:`WRAPPED`, :data:`REPLACED`, :data:`ADDED` or :data:`OVERRIDDEN`.
        takes: the names of its parameters, separated by commas; None if they do not matter.
        by: ours: the wrapper ``(original, *args)``, what takes its place, or the classes that override it.
        why: the reason.
        until: when it can go, because RecBole does this itself; empty for methods, which are there to be overridden.
    """

    module: str
    path: str
    kind: str
    takes: str | None
    by: Any
    why: str
    until: str = ""

    @property
    def name(self) -> str:
        """The full name: module, class and attribute."""
        return f"{self.module}.{self.path}"

    @property
    def attribute(self) -> str:
        """Its name in :attr:`owner`."""
        return self.path.rpartition(".")[2]

    @property
    def owner(self) -> ModuleType | type:
        """The module or the class that has it.

        Raises:
            ImportError: RecBole has no such module or class, or it lacks this attribute.
        """
        try:
            owner = value = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if not self.module.startswith(error.name or " "):  # a library that RecBole needs
                raise
            raise self._refused("is missing in") from None
        for name in self.path.split("."):
            if name not in vars(value):  # what a class inherits belongs to another class
                raise self._refused("is missing in")
            owner, value = value, vars(value)[name]
        return owner

    @property
    def value(self) -> Any:
        """What RecBole has there now."""
        return getattr(self.owner, self.attribute)

    def check(self) -> None:
        """Compare it with the installed RecBole.

        Raises:
            ImportError: it is missing, or its parameters are different.
        """
        value = self.value
        if self.takes is not None:
            present = f"({', '.join(inspect.signature(value).parameters)})" if callable(value) else repr(value)
            if present != f"({self.takes})":
                raise self._refused(f"is {present} in")

    def _refused(self, how):
        takes = "" if self.takes is None else f"({self.takes})"
        return ImportError(
            f"recbole_ec4srec was written for {WRITTEN_FOR}, with {self.name}{takes}, which {how} RecBole "
            f"{recbole.__version__}; install one of those versions"
        )

    def apply(self) -> None:
        """Put ours in its place, once."""
        original = self.value
        if self.kind == WRAPPED and not getattr(original, _MARK, False):
            setattr(self.owner, self.attribute, _wrapped(original, self.by))
        if self.kind == REPLACED and original is not self.by:
            if callable(self.by):
                self.by.__wrapped__ = original
            setattr(self.owner, self.attribute, self.by)


def _wrapped(original, wrapper):
    @functools.wraps(original)
    def wrapped(*args, **kwargs):
        return wrapper(original, *args, **kwargs)

    vars(wrapped)[_MARK] = True
    return wrapped


def _hooks(kind: str, table: dict[str, list[tuple]]) -> list[Hook]:
    """The hooks of a table: by modules (several where each has the same function by name), their rows."""
    return [
        Hook(module, path, kind, *rest)
        for modules, rows in table.items()
        for module in modules.split()
        for path, *rest in rows
    ]


# --- why, and until when ----------------------------------------------------------------------------------------------

_BY_NAME = "a model, its data set and its trainer are found by name"
_WORDS = "an error of RecBole in words is a ConfigError or a DataError"
_FILES = "a file that cannot be read is named"
_TEXT = "a text that Python cannot evaluate stays a text"
_SPELLINGS = "the paper's spellings of models; the message for an unknown model has the nearest one"
_SETTINGS = "settings are checked; defaults that cannot work are replaced"
_EXACT = "times that 32 bits cannot tell apart keep their order"
_EMPTY = "filters that leave too little are named"
_FORMAT = "files are read as they look, or refused"
_SPLIT = "items of files that are split already may have any name"
_WINDOWS = "train_on: sequences works for RecBole's causal models"
_SEEN = "repeatable: False works for sequential models"
_SHARE = "loaders of one of several processes are not taken for all; a training keeps its random numbers"
_NUMBERS = "the numbers of instances take no memory"
_LOADERS = "loaders that were saved of other data are refused"
_SAME_DATA = "a model is used with the ids that it was trained on"
_AS_DATA = "checkpoints are data, of which no code is run"
_RESUME = "training can resume; of several processes all have the same metrics"
_PROCESSES = "several processes work without GPUs, and the first alone writes"
_ONE_COPY = "the processes of a machine share one copy of the data"
_STARTED = "the processes that torchrun started are used"
_SPAWNED = "a process that is started for --nproc knows our models"
_NO_DATA = "no data gives a result like any other"
_COVERAGE = "ItemCoverage and the like work"
_ALL_USERS = "metrics of several processes are of all users"
_FOLDER = "two trainings that start at once in a new folder do not both make it"
_SECOND = "trainings that start in the same second have files of their own"

_PLUGINS = "it takes plugins"
_SAYS = "it says which key, file or line is wrong"
_RANKS = "it leaves out the items of the user's history"
_EVAL = "it expects every exception there"
_ISSUE = "its issue 2204 is solved"
_ISSUE_OF_MEMORY = "its issue 1578 is solved"
_KEEPS = "it keeps the ids, and compares them"
_PLAIN = "it stores plain values"
_CPU = "its processes work on a CPU"
_TENSORS = "it moves tensors alone to the CPU"

# --- the table --------------------------------------------------------------------------------------------------------

_FIT = "self, train_data, valid_data, verbose, saved, show_progress, callback_fn"
_EVALUATE = "self, eval_data, load_best_model, model_file, show_progress"
_TRAIN_EPOCH = "self, train_data, epoch_idx, loss_func, show_progress"
_VALID_EPOCH = "self, valid_data, show_progress"
_OUTPUT = "self, epoch_idx, s_time, e_time, losses"
_LEAVE_OUT = "self, grouped_index, leave_one_num"
_RUN = "model, dataset, config_file_list, config_dict, saved, nproc, world_size, ip, port, group_offset"
_LOADER = "self, config, dataset, sampler, shuffle"
_INTERNAL = "self, model, model_class, dataset"

_DATASET = "recbole.data.dataset.dataset"
_SEQUENTIAL = "recbole.data.dataset.sequential_dataset"
_CUSTOM = "recbole.data.dataset.customized_dataset"
_LOADING = "recbole.data.dataloader.general_dataloader"
_DATA = "recbole.data.utils"
_RECOMMENDER = "recbole.model.abstract_recommender"
_TRAINER = "recbole.trainer.trainer"
_QUICK_START = "recbole.quick_start.quick_start"
_GENERAL = "recbole.model.general_recommender"
_KD_DAGFM = "recbole.model.context_aware_recommender.kd_dagfm"
_S3REC = "recbole.model.sequential_recommender.s3rec"
#: Modules that read or write checkpoints.
_WITH_CHECKPOINTS = (
    f"{_TRAINER} {_GENERAL}.convncf {_GENERAL}.nais {_GENERAL}.neumf {_GENERAL}.ract {_KD_DAGFM} {_S3REC}"
)

_WRAPPERS: dict[str, list[tuple]] = {
    "recbole.config.configurator": [
        ("Config._load_config_files", "self, file_list", registry.load_config_files, _FILES, _SAYS),
        ("Config._convert_config_dict", "self, config_dict", registry.convert_config_dict, _TEXT, _EVAL),
        ("Config._load_cmd_line", "self", registry.in_our_words(SyntaxError), _WORDS, _SAYS),
        ("Config._get_model_and_dataset", "self, model, dataset", registry.get_model_and_dataset, _SPELLINGS, _PLUGINS),
        ("Config._load_internal_config_dict", _INTERNAL, registry.load_internal_config_dict, "our files", _PLUGINS),
        ("Config._get_final_config_dict", "self", registry.get_final_config_dict, _SETTINGS, _SAYS),
        ("Config._init_device", "self", distributed.init_device, _PROCESSES, _CPU),
        ("Config._set_default_parameters", "self", registry.set_default_parameters, f"{_WORDS}; {_SEEN}", _SAYS),
    ],
    _DATASET: [
        ("Dataset._from_scratch", "self", checks.from_scratch, _WORDS, _SAYS),
        ("Dataset._download", "self", checks.download, "a data set that is not there is named", _SAYS),
        ("Dataset._load_data", "self, token, dataset_path", checks.load_data, "ids and times have their types", _SAYS),
        ("Dataset._load_feat", "self, filepath, source", files.load_feat, _FORMAT, _SAYS),
        ("Dataset._load_inter_feat", "self, token, dataset_path", order.load_interactions, _EXACT, _ISSUE),
        ("Dataset._data_filtering", "self", checks.data_filtering, _EMPTY, _SAYS),
        ("Dataset._remove_duplication", "self", order.remove_duplication, _EXACT, _ISSUE),
        ("Dataset._reset_index", "self", checks.reset_index, f"{_EMPTY}; {_EXACT}", _SAYS),
        ("Dataset._user_item_feat_preparation", "self", identity.number_features, _SAME_DATA, _KEEPS),
        ("Dataset.sort", "self, by, ascending", order.sort, _EXACT, _ISSUE),
        ("Dataset.build", "self", checks.build, "a split that leaves nothing to train or test on is named", _SAYS),
    ],
    _SEQUENTIAL: [
        ("SequentialDataset.__init__", "self, config", registry.init_sequential_dataset, _WINDOWS, _PLUGINS),
        ("SequentialDataset._benchmark_presets", "self", presplit.benchmark_presets, _SPLIT, "it asks for the field"),
        ("SequentialDataset.data_augmentation", "self", seen.make_instances, _SEEN, _RANKS),
    ],
    _CUSTOM: [("DIENDataset.data_augmentation", "self", seen.make_instances, _SEEN, _RANKS)],
    _LOADING: [("FullSortEvalDataLoader.collate_fn", "self, index", seen.full_ranking, _SEEN, _RANKS)],
    "recbole.data.dataloader.abstract_dataloader": [
        ("AbstractDataLoader.__init__", _LOADER, loaders.init_dataloader, _NUMBERS, "it keeps ranges"),
    ],
    _DATA: [
        ("get_dataloader", "config, phase", registry.get_dataloader, "our models are trained with views", _PLUGINS),
        ("save_split_dataloaders", "config, dataloaders", loaders.save_split_dataloaders, _SHARE, "it saves copies"),
        ("load_split_dataloaders", "config", loaders.load_split_dataloaders, _SHARE, "it saves no share"),
    ],
    f"{_DATA} recbole.data {_QUICK_START}": [
        ("create_dataset", "config", sharing.create_dataset, _ONE_COPY, _ISSUE_OF_MEMORY),
        ("data_preparation", "config, dataset", loaders.data_preparation, f"{_LOADERS}; {_ONE_COPY}", _KEEPS),
    ],
    _TRAINER: [
        ("Trainer.fit", _FIT, registry.fit, _SAME_DATA, _KEEPS),
        ("Trainer.evaluate", _EVALUATE, compat.evaluated, _NO_DATA, "it gives one itself"),
        ("get_tensorboard", "logger", distributed.get_tensorboard, _PROCESSES, _CPU),
        ("DistributedDataParallel", None, distributed.data_parallel, _PROCESSES, _CPU),
    ],
    "recbole.evaluator.collector": [
        ("Collector.get_data_struct", "self", registry.get_data_struct, f"{_COVERAGE}; {_ALL_USERS}", _TENSORS),
    ],
    _QUICK_START: [
        ("get_trainer", "model_type, model_name", registry.get_trainer, _RESUME, _PLUGINS),
        ("init_logger", "config", distributed.init_logger, _PROCESSES, _CPU),
    ],
    f"{_QUICK_START} recbole.quick_start": [
        ("run", _RUN, distributed.run, _STARTED, "it does"),
        ("load_data_and_model", "model_file", registry.load_data_and_model, f"{_AS_DATA}; {_SAME_DATA}", _PLAIN),
    ],
    _RECOMMENDER: [
        ("AbstractRecommender.other_parameter", "self", checkpoint.other_parameter, _AS_DATA, _PLAIN),
        ("AbstractRecommender.load_other_parameter", "self, para", checkpoint.load_other_parameter, _AS_DATA, _PLAIN),
    ],
    f"recbole.utils recbole.utils.utils recbole.utils.logger {_TRAINER} {_DATA} {_DATASET}": [
        ("ensure_dir", "dir_path", compat.ensure_dir, _FOLDER, "it passes exist_ok"),
    ],
    f"recbole.utils.utils recbole.utils.logger {_TRAINER}": [
        ("get_local_time", "", compat.get_local_time, _SECOND, "names of files have more than the time in them"),
    ],
}

_REPLACEMENTS: dict[str, list[tuple]] = {
    _QUICK_START: [("run_recboles", "rank, args", distributed.run_recboles, _SPAWNED, _PLUGINS)],
    _TRAINER: [("WandbLogger", "config", tracking.Tracker, "MLflow is told what Weights & Biases is", _PLUGINS)],
    _WITH_CHECKPOINTS: [("torch", None, compat.TORCH, _AS_DATA, _PLAIN)],
}

_NAMES: dict[str, list[tuple]] = {
    "recbole.model.sequential_recommender": [("{name}", None, EC4SRec, _BY_NAME, _PLUGINS)],
    "recbole.data.dataset": [("{name}Dataset", None, EC4SRecDataset, _BY_NAME, _PLUGINS)],
    "recbole.trainer": [("{name}Trainer", None, EC4SRecTrainer, _BY_NAME, _PLUGINS)],
}

_DATASETS, _BATCHES = [EC4SRecDataset], [SequenceBatch, TrainingBatch]
_TRAIN_LOADERS = [EC4SRecTrainDataLoader, SequencesTrainDataLoader, EC4SRecSequencesTrainDataLoader]
_TRAINERS = [EC4SRecTrainer, Resumable, Synchronised, Judged]
_TRACKERS = [tracking.Tracker]
_COLLECT = "self, scores_tensor, interaction, positive_u, positive_i"
_OVERRIDES: dict[str, list[tuple]] = {
    _DATASET: [
        ("Dataset._download", "self", _DATASETS, "nothing is downloaded"),
        ("Dataset._grouped_index", "self, group_by_list", _DATASETS, "users' rows are arrays"),
        ("Dataset._split_index_by_leave_one_out", _LEAVE_OUT, _DATASETS, "all users are split at once"),
        ("Dataset.__getitem__", "self, index, join", _DATASETS, "windows are cut per batch"),
    ],
    _SEQUENTIAL: [
        ("SequentialDataset.data_augmentation", "self", _DATASETS, "each interaction is kept once"),
        (
            "SequentialDataset.build",
            "self",
            _DATASETS,
            "train_on: sequences cuts windows",
        ),
        ("SequentialDataset.inter_matrix", "self, form, value_field", _DATASETS, "of the interactions kept once"),
    ],
    "recbole.data.interaction": [
        ("Interaction.__init__", "self, interaction", _BATCHES, "a batch has its lengths on the host"),
        ("Interaction.to", "self, device, selected_field", _BATCHES, "the lengths stay there"),
        ("Interaction.__getitem__", "self, index", [Table, SequenceBatch], "rows are arrays, and keep their phase"),
    ],
    _LOADING: [
        ("TrainDataLoader.__init__", _LOADER, [WithViews], "there are views to make"),
        ("TrainDataLoader.update_config", "self, config", [WithViews], "views follow the settings"),
        ("TrainDataLoader._init_batch_size_and_step", "self", [SequencesTrainDataLoader], "batches hold users"),
        ("TrainDataLoader.collate_fn", "self, index", _TRAIN_LOADERS, "a batch has views, or users"),
    ],
    "recbole.data.dataloader.abstract_dataloader": [
        ("AbstractDataLoader.__iter__", "self", [WithViews], "epochs are counted"),
    ],
    _RECOMMENDER: [
        ("SequentialRecommender.__init__", "self, config, dataset", [EC4SRec], "the model has a backbone"),
        ("AbstractRecommender.calculate_loss", "self, interaction", [EC4SRec], "the losses of the paper"),
        ("AbstractRecommender.predict", "self, interaction", [EC4SRec], "scores of the batch's items"),
        ("AbstractRecommender.full_sort_predict", "self, interaction", [EC4SRec], "scores of all items"),
    ],
    "recbole.evaluator.collector": [
        (
            "Collector.eval_batch_collect",
            _COLLECT,
            [TopkCollector],
            "the metrics of two protocols take the time of one",
        ),
    ],
    _TRAINER: [
        ("Trainer.__init__", "self, config, model", _TRAINERS, "a schedule, a state, one name of the best model"),
        ("Trainer.fit", _FIT, _TRAINERS, "a state after each epoch, processes that wait for the best model"),
        ("Trainer._build_optimizer", "self, kwargs", [EC4SRecTrainer], "Adam in one kernel"),
        (
            "Trainer.evaluate",
            _EVALUATE,
            [Synchronised, Judged],
            "each user is evaluated once; the metrics of two protocols",
        ),
        ("Trainer._full_sort_batch_eval", "self, batched_data", [Judged], "both protocols rank the same scores"),
        ("Trainer._train_epoch", _TRAIN_EPOCH, [EC4SRecTrainer], "updates at the start of scheduled epochs"),
        ("Trainer._valid_epoch", _VALID_EPOCH, [Resumable, Judged], "its metrics are kept"),
        ("Trainer._check_nan", "self, loss", [EC4SRecTrainer], "a loss that is not finite is named, with its parts"),
        (
            "Trainer._save_checkpoint",
            "self, epoch, verbose, kwargs",
            [Resumable, Synchronised],
            "the best model is always complete, and of several processes one writes it",
        ),
        ("Trainer._generate_train_loss_output", _OUTPUT, [EC4SRecTrainer], "the log names the parts of the loss"),
        ("Trainer._add_train_loss_to_tensorboard", "self, epoch_idx, losses, tag", [EC4SRecTrainer], "the parts too"),
        ("Trainer._map_reduce", "self, result, num_sample", [Synchronised], "metrics are of all users already"),
    ],
    "recbole.utils.wandblogger": [
        ("WandbLogger.setup", "self", _TRACKERS, "a training is a run of MLflow's"),
        ("WandbLogger.log_metrics", "self, metrics, head, commit", _TRACKERS, "MLflow is told the same"),
        ("WandbLogger.log_eval_metrics", "self, metrics, head", _TRACKERS, "MLflow is told the same"),
    ],
}

HOOKS = (
    *_hooks(ADDED, _NAMES),
    *_hooks(WRAPPED, _WRAPPERS),
    *_hooks(REPLACED, _REPLACEMENTS),
    *_hooks(OVERRIDDEN, _OVERRIDES),
)


def register() -> None:
    """Make our models known to RecBole's own entry points; safe to call twice.

    Raises:
        ImportError: this version of RecBole lacks something in :data:`HOOKS`; it is named, and nothing was changed.
    """
    present = [hook for hook in HOOKS if hook.kind != ADDED]
    for hook in present:
        hook.check()
    registry.register_variants()
    for hook in present:
        hook.apply()
