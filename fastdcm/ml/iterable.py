"""A dataset for torch that yields batches, divided among ranks and workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from fastdcm.ml.datasets import BatchDict, DatasetOptions, DicomDataset

_Ints = npt.NDArray[np.int64]


class DicomIterableDataset(IterableDataset):
    """An iterable dataset for torch of complete batches, split among ranks and workers.

    For ``DataLoader(dataset, batch_size=None, num_workers=...)``. The batches
    and their order do not depend on the number of workers.

    Parameters
    ----------
    source : table, path or other source of a scan
        As of `DicomDataset`.
    batch_size : int
        Samples in a batch.
    shuffle : bool
        True: shards come in random order, and so do the samples of each shard.
        Files that are stored together are read together.
    seed : int
        The order depends on `seed` and the epoch.
    shard : int
        Number of consecutive samples in a shard.
    drop_last : bool
        True: leave out the last batch if it is not full, and the batches that
        not every rank would receive. False: a rank that would receive one batch
        less receives one of the first again.
    rank, world_size : int or None
        Both or neither. None: those of torch.distributed, or 0 and 1 if it is
        not initialized.
    **options
        The keyword arguments of `DicomDataset`.

    Attributes
    ----------
    dataset : DicomDataset

    Raises
    ------
    ValueError
        For invalid arguments.

    Examples
    --------
    >>> dataset = DicomIterableDataset("frames.parquet", 16, shuffle=True)  # doctest: +SKIP
    >>> for epoch in range(10):  # doctest: +SKIP
    ...     dataset.set_epoch(epoch)
    ...     for batch in DataLoader(dataset, batch_size=None, num_workers=4):
    ...         train(batch["image"])
    """

    def __init__(
        self,
        source: Any,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        shard: int = 4096,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        **options: Unpack[DatasetOptions],
    ) -> None:
        if batch_size < 1 or shard < 1:
            raise ValueError(
                f"batch_size and shard must be at least 1, got {batch_size} and {shard}"
            )
        if rank is None and world_size is None:
            rank, world_size = 0, 1
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        if rank is None or world_size is None or not 0 <= rank < world_size:
            raise ValueError(
                f"rank must be at least 0 and less than world_size, got {rank} and {world_size}; "
                "give both or neither"
            )
        self.dataset = DicomDataset(source, **options)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.shard = shard
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        # epoch, first batch, and number of calls of set_epoch: shared with persistent workers
        self._position = torch.zeros(3, dtype=torch.int64).share_memory_()
        # of this process: (calls of set_epoch, first batch) of load_state_dict, and the
        # batch after the one that was returned last
        self._restored: tuple[int, int] | None = None
        self._next = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch, which determines the order; call it on all ranks.

        Parameters
        ----------
        epoch : int
        start : int
            The number of batches of this rank to leave out, until this is called again:
            those that were used before a stop.
        """
        if start < 0:
            raise ValueError(f"start must be at least 0, got {start}")
        self._position[0], self._position[1] = epoch, start
        self._position[2] += 1

    def _start(self) -> int:
        """Return the first batch, before batches are divided among workers."""
        if self._restored is not None and self._restored[0] == int(self._position[2]):
            return self._restored[1]
        return int(self._position[1])

    def state_dict(self) -> dict[str, int]:
        """Return where the iteration is, to continue there after a stop.

        Each worker of a DataLoader has a state of its own: count the batches yourself and
        use `set_epoch`, or use a loader that keeps the states of its workers, such as the
        StatefulDataLoader of torchdata.

        Returns
        -------
        dict
            ``"epoch"``, and ``"start"``, the number of batches that were returned, by
            all workers if they returned as many.
        """
        return {"epoch": int(self._position[0]), "start": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where `state_dict` was called; call `set_epoch` for the next epoch.

        Parameters
        ----------
        state : dict
        """
        self._position[0] = state["epoch"]
        self._next = state["start"]
        self._restored = int(self._position[2]), state["start"]

    def _batches(self) -> int:
        """Return the number of batches of all ranks."""
        count = len(self.dataset)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __len__(self) -> int:
        """Return the number of batches of this rank."""
        batches = self._batches()
        return batches // self.world_size if self.drop_last else -(-batches // self.world_size)

    def _order(self) -> _Ints:
        """Return the indices of all samples in the order of this epoch."""
        count = len(self.dataset)
        if not self.shuffle:
            return np.arange(count)
        random = np.random.default_rng([self.seed, int(self._position[0])])
        starts = random.permutation(np.arange(0, count, self.shard))
        shards = [start + random.permutation(min(self.shard, count - start)) for start in starts]
        return np.concatenate(shards) if shards else starts

    def __iter__(self) -> Iterator[BatchDict]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        order, batches = self._order(), self._batches()
        start = self._next = self._start()
        for number in range(start + first, len(self), step):
            begin = (number * self.world_size + self.rank) % batches * self.batch_size
            self._next += step
            yield self.dataset.read(order[begin : begin + self.batch_size])
