"""Embedding tables spread over processes: torchrec's `DistributedModelParallel` as a Lightning
strategy, `trainer=sharded`.

Tables, of bags and of the affinity's single ids alike, are cut by rows, by columns, put whole on
one process, or copied to all; what is dense is data parallel. Tables that are not copied are
updated inside the backward pass (fused), by an optimizer of their own. Checkpoints are folders of
torch's distributed format: any number of processes can go on from them, and one process can read
them whole.

Limits: needs torchrun (or any launcher that sets its variables), also for one process. Gradient
clipping does not reach fused updates.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
from torchrec.distributed.sharding_plan import (
    column_wise,
    construct_module_sharding_plan,
    data_parallel,
    row_wise,
    table_wise,
)
from torchrec.distributed.types import ShardingPlan, ShardingType
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizerWrapper

from models.checkpoint import remove, replace
from models.recommender.interactions import DataError
from models.recommender.ranking.nets.affinity import EARLIER
from models.recommender.ranking.nets.net import RankingNet
from models.recommender.ranking.sparse import EmbeddingCollection

log = logging.getLogger(__name__)

META = "meta.pt"  # what Lightning keeps beside weights: epochs, callbacks, schedules
KINDS = ("row_wise", "column_wise", "table_wise", "data_parallel")


class ShardsError(ValueError):
    """A sharded checkpoint that is not whole, or of an earlier layout."""

    exit_code = 65  # EX_DATAERR


class AnyKind:
    """All ways of sharding, also those that the planner does not offer on a CPU."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return [ShardingType[kind.upper()].value for kind in KINDS]


class FusedKind:
    """What the planner may choose from: ways whose tables are updated in the backward pass."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        offered: list[str] = super().sharding_types(compute_device_type)  # type: ignore[misc]
        return [kind for kind in offered if kind != ShardingType.DATA_PARALLEL.value]


class AnyBagSharder(AnyKind, EmbeddingBagCollectionSharder):  # type: ignore[misc]
    """Bags, as the config says."""


class AnyIdSharder(AnyKind, EmbeddingCollectionSharder):  # type: ignore[misc]
    """Single ids, as the config says."""


class PlannedBagSharder(FusedKind, EmbeddingBagCollectionSharder):  # type: ignore[misc]
    """Bags, as the planner says."""


class PlannedIdSharder(FusedKind, EmbeddingCollectionSharder):  # type: ignore[misc]
    """Single ids, as the planner says."""


class Collection(NamedTuple):
    """Tables that are looked up in together."""

    path: str  # of the collection in the network
    module: nn.Module
    inner: str  # the module in it that holds the tables
    tables: Mapping[str, nn.Module]

    def weight(self, table: str) -> str:
        """The parameter's name in the network."""
        return f"{self.path}.{self.inner}.{table}.weight"


def collections_of(net: RankingNet) -> list[Collection]:
    """The bags, and the affinity's tables where the network has one."""
    bags = net.embeddings
    tables = dict(bags.embedding_bags.items())
    found = [Collection("embeddings", bags, "embedding_bags", tables)]
    if net.affinity is not None:
        single = net.affinity.tables
        tables = dict(single.embeddings.items())
        found.append(Collection("affinity.tables", single, "embeddings", tables))
    return found


class ShardedStrategy(ModelParallelStrategy):
    """Shards the network of a model that asks for it in `configure_model`, by `shard(net)`.

    Args:
        plan: "planner": torchrec decides; or a kind for all tables; or a mapping of table → kind,
            in which `default` stands for the others.
        fused: optimizer of the tables that are not copied, a partial such as
            `torchrec.optim.rowwise_adagrad.RowWiseAdagrad`.
    """

    def __init__(self, plan: str | Mapping[str, str], fused: partial[Optimizer]) -> None:
        super().__init__(data_parallel_size="auto", tensor_parallel_size="auto")
        self.plan = plan
        self.fused = fused
        self.sharded: DistributedModelParallel | None = None
        self.fused_names: set[str] = set()

    def shard(self, net: RankingNet) -> DistributedModelParallel:
        """The network over all processes, with the weights that it has.

        A collection of bags on the meta device has none: its shards start from random ones.

        Raises:
            DataError: a plan of unknown tables or kinds, or a width that no kernel takes.
        """
        for each in collections_of(net):
            for name, table in each.tables.items():
                if (width := cast(int, table.embedding_dim)) % 4:
                    raise DataError(
                        f"trainer=sharded: table {name} is {width} wide, but the kernels take "
                        "multiples of 4 only; change model.net.dim or model.net.affinity.dim"
                    )
        whole = {
            each.weight(n): cast(Tensor, t.weight).detach().clone()
            for each in collections_of(net)
            for n, t in each.tables.items()
            if not cast(Tensor, t.weight).is_meta
        }
        # The fused kernels take no tables that exist already.
        net.embeddings.to("meta")
        if net.affinity is not None:  # it goes by the device that it was made for
            configs = net.affinity.tables.embedding_configs()
            net.affinity.tables = EmbeddingCollection(configs, device=torch.device("meta"))
        collections = collections_of(net)
        kinds = self._kinds([name for each in collections for name in each.tables])
        fused = {
            each.weight(n): cast(nn.Parameter, t.weight)
            for each in collections
            for n, t in each.tables.items()
            if kinds.get(n) != "data_parallel"
        }
        self.fused_names = set(fused)
        if fused:
            keywords = dict(self.fused.keywords)
            apply_optimizer_in_backward(cast(Any, self.fused.func), fused.values(), keywords)
        sharders: list[Any] = (
            [AnyBagSharder(), AnyIdSharder()]
            if kinds
            else [PlannedBagSharder(), PlannedIdSharder()]
        )
        device = self.root_device
        plan = self._plan(net, collections, kinds, sharders)
        sharded = DistributedModelParallel(net, device=device, plan=plan, sharders=sharders)
        for key, target in sharded.state_dict().items():
            if key in whole:
                _fill(target, whole[key])
        self.sharded = sharded
        log.info("tables: %s", ", ".join(f"{n} {k}" for n, k in kinds.items()) or "by the planner")
        return sharded

    def _kinds(self, tables: list[str]) -> dict[str, str]:
        if self.plan == "planner":
            return {}
        asked = {"default": self.plan} if isinstance(self.plan, str) else dict(self.plan)
        strange = sorted(set(asked) - {"default", *tables})
        if strange:
            raise DataError(f"trainer.strategy.plan: no table {strange[0]!r}; there are {tables}")
        kinds = {name: asked.get(name, asked.get("default", "table_wise")) for name in tables}
        for name, kind in kinds.items():
            if kind not in KINDS:
                raise DataError(
                    f"trainer.strategy.plan: {name} is {kind!r}; it is planner or one of {KINDS}"
                )
        return kinds

    def _plan(
        self,
        net: RankingNet,
        collections: list[Collection],
        kinds: dict[str, str],
        sharders: list[Any],
    ) -> ShardingPlan:
        device = self.root_device.type
        world, local = self.world_size, self.num_processes
        if not kinds:
            topology = Topology(world, compute_device=device, local_world_size=local)
            planner = EmbeddingShardingPlanner(topology=topology)
            group = torch.distributed.group.WORLD
            return planner.collective_plan(net, sharders, group)
        width = {n: cast(int, t.embedding_dim) for c in collections for n, t in c.tables.items()}
        makers: dict[str, Callable[[int, str], Any]] = {
            "row_wise": lambda *_: row_wise(),
            "table_wise": lambda place, _: table_wise(rank=place % world),
            "column_wise": lambda _, name: column_wise(
                ranks=list(range(world)) if width[name] % (4 * world) == 0 else [0]
            ),
            "data_parallel": lambda *_: data_parallel(),
        }
        per_table = {n: makers[k](place, n) for place, (n, k) in enumerate(kinds.items())}
        return ShardingPlan(
            {
                each.path: construct_module_sharding_plan(
                    each.module, {n: per_table[n] for n in each.tables}, sharder=sharder,
                    local_size=local, world_size=world, device_type=device,
                )
                for each, sharder in zip(collections, sharders, strict=False)
            }
        )  # fmt: skip

    def optimizer(self, dense: Callable[[dict[str, Tensor]], Optimizer]) -> Optimizer:
        """The fused optimizer and one of the rest as one, whose state knows parameters by name."""
        assert self.sharded is not None, "configure_model has not sharded anything"
        fused = self.sharded.fused_optimizer
        # Where this process holds no part of a table, the fused optimizer does not know its name.
        named = self.sharded.named_parameters()
        rest = {n: p for n, p in named if n not in self.fused_names}
        wrapped = KeyedOptimizerWrapper(rest, lambda _: dense(rest))
        return cast(Optimizer, CombinedOptimizer([fused, ("dense", wrapped)]))

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        return self.lightning_module.state_dict()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        plain = getattr(optimizer, "_optimizer", optimizer)
        state: dict[str, Any] = plain.state_dict()
        return state

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None
    ) -> None:
        """Every process writes its shards beside the goal, which is then replaced."""
        path = Path(self.broadcast(filepath))
        staging = path.with_name(f".{path.name}.partial")
        if self.is_global_zero:
            remove(staging)
        self.barrier()
        states = {
            "state_dict": checkpoint.pop("state_dict"),
            **{f"optimizer_{n}": s for n, s in enumerate(checkpoint.pop("optimizer_states", []))},
        }
        save(states, checkpoint_id=staging)
        if self.is_global_zero:
            torch.save(checkpoint, staging / META)
            replace(path, staging)
        self.barrier()

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Each process reads the parts that it holds now, whoever wrote them."""
        path = Path(self.broadcast(checkpoint_path))
        require_whole(path)
        refuse_earlier(path)
        states = {"state_dict": self.lightning_module_state_dict()}
        plain: list[Any] = [getattr(o, "_optimizer", o) for o in self.optimizers]
        for n, optimizer in enumerate(plain):
            optimizer.init_state(None)
            states[f"optimizer_{n}"] = optimizer.state_dict()
        load(states, checkpoint_id=path)
        for n, optimizer in enumerate(plain):
            optimizer.load_state_dict(states[f"optimizer_{n}"])
        kept: dict[str, Any] = torch.load(path / META, map_location="cpu", weights_only=False)
        for schedule in kept.get("lr_schedulers", ()):
            # Rates of each group: processes differ in how many parts of tables they hold.
            schedule.pop("base_lrs", None)
            schedule.pop("_last_lr", None)
            schedule["lr_lambdas"] = []
        return kept

    def _determine_device_ids(self) -> list[int]:
        return [self.root_device.index or 0]


def read_whole(path: Path, net: nn.Module, prefix: str = "net.") -> dict[str, Any]:
    """Load a sharded checkpoint into an ordinary network, without any other process.

    Returns:
        What Lightning keeps beside weights.

    Raises:
        ShardsError: a file of the checkpoint is missing.
    """
    require_whole(path)
    earlier = _earlier(path)
    state = {earlier.get(f"{prefix}{n}", f"{prefix}{n}"): t for n, t in net.state_dict().items()}
    load({"state_dict": state}, checkpoint_id=path, no_dist=True)
    kept: dict[str, Any] = torch.load(path / META, map_location="cpu", weights_only=False)
    return kept


def _earlier(path: Path, prefix: str = "net.affinity.") -> dict[str, str]:
    """Weight → its name in the checkpoint, if that is from before the affinity was sharded."""
    names = FileSystemReader(path).read_metadata().state_dict_metadata
    return {
        prefix + new: prefix + old
        for old, new in EARLIER.items()
        if f"state_dict.{prefix}{old}" in names
    }


def refuse_earlier(path: Path) -> None:
    """Raises `ShardsError` for a checkpoint whose optimizer's state cannot be read any more."""
    if _earlier(path):
        raise ShardsError(
            f"{path}: of an earlier layout, in which the affinity's tables were not sharded, with "
            "another optimizer's state; training cannot go on from it. Evaluate or export it as it "
            "is (scripts/evaluate.py, scripts/export.py), or train anew"
        )


def require_whole(path: Path) -> None:
    """Raises `ShardsError` naming what a sharded checkpoint lacks."""
    if not (path / ".metadata").is_file():
        raise ShardsError(f"{path}: no .metadata; this is no complete sharded checkpoint")
    metadata = FileSystemReader(path).read_metadata()
    files = {str(info.relative_path) for info in metadata.storage_data.values()}
    missing = sorted(f for f in {*files, META} if not (path / f).is_file())
    if missing:
        raise ShardsError(
            f"{path}: the file {missing[0]} is missing ({len(missing)} of {len(files) + 1}); a "
            "sharded checkpoint needs all of its files: bring it back, or go on from another one "
            "with resume=<path>"
        )


def _fill(target: Any, whole: Tensor) -> None:
    """Copy what a process holds of a table out of the whole one."""
    shards = getattr(target, "local_shards", None)
    if shards is None:
        with torch.no_grad():
            target.copy_(whole)
        return
    for shard in shards():
        (row, column), (rows, columns) = shard.metadata.shard_offsets, shard.metadata.shard_sizes
        with torch.no_grad():
            shard.tensor.copy_(whole[row : row + rows, column : column + columns])
