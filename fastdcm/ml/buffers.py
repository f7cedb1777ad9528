"""Reuse the memory of batches, also between a worker process and its DataLoader.

New memory, above all shared memory, costs a page fault for every 4 KiB: several
times what reading and converting a frame costs. So a process keeps the buffers
of its batches, and reuses one when no tensor of it is left. Each buffer ends in
two flags, one for the tensors of this process and one for those of the process
that it was sent to; a flag is cleared when the last of its tensors is deleted.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch

_TAIL = 64  # bytes after the data, of which two are flags
_MAX_FREE = 4  # buffers that are kept: more than a worker prefetches
_SENDER, _RECEIVER = 0, 1  # the flags


def empty_tensor(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return an uninitialized tensor, allocated by NumPy, which requests huge pages.

    Parameters
    ----------
    shape : sequence of int
    dtype : torch.dtype

    Returns
    -------
    torch.Tensor
    """
    return torch.from_numpy(np.empty(_size(shape, dtype), np.uint8)).view(dtype).view(shape)


def _size(shape: Sequence[int], dtype: torch.dtype) -> int:
    size: int = dtype.itemsize
    for n in shape:
        size *= n
    return size


def _tensor_of(
    buffer: torch.Tensor, shape: Sequence[int], dtype: torch.dtype, flag: int
) -> torch.Tensor:
    """Return a tensor of a buffer, which sets a flag until it is deleted."""
    cells = buffer.numpy()
    flags = cells[-_TAIL:]
    flags[flag] = 1
    data = memoryview(cells)[: _size(shape, dtype)]
    # Only torch keeps a reference to `data`: it is deleted with the last view.
    weakref.finalize(data, flags.__setitem__, flag, 0).atexit = False
    return torch.frombuffer(data, dtype=dtype).view(shape)


class BufferPool:
    """The buffers of one process.

    Parameters
    ----------
    shared : bool
        Allocate shared memory, for a worker.
    """

    def __init__(self, shared: bool) -> None:
        self.pid = os.getpid()
        self._shared = shared
        self._buffers: list[torch.Tensor] = []
        self._lock = threading.Lock()

    def acquire(
        self, shape: Sequence[int], dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a tensor in a free buffer, or in a new one.

        Parameters
        ----------
        shape : sequence of int
        dtype : torch.dtype

        Returns
        -------
        tensor : torch.Tensor
            Of that shape, uninitialized.
        buffer : torch.Tensor
            The complete buffer, for `SharedBatch`.
        """
        size = _size(shape, dtype) + _TAIL
        with self._lock:
            used: list[torch.Tensor] = []
            free: list[torch.Tensor] = []
            for buffer in self._buffers:
                if buffer.numpy()[-_TAIL:][:2].any():
                    used.append(buffer)
                elif len(buffer) >= size and len(free) < _MAX_FREE:
                    free.append(buffer)
            if not free:
                free.append(self._allocate(size))
            self._buffers = used + free
            return _tensor_of(free[0], shape, dtype, _SENDER), free[0]

    def _allocate(self, size: int) -> torch.Tensor:
        if self._shared:
            storage = torch.UntypedStorage._new_shared(size)
            buffer = torch.empty(0, dtype=torch.uint8).set_(storage, 0, (size,))
        else:
            buffer = empty_tensor((size,), torch.uint8)
        buffer[-_TAIL:] = 0
        return buffer


class SharedBatch(dict[str, Any]):
    """A batch of a worker, whose image is not copied when it is sent.

    The DataLoader receives a dict. Its image is in the buffer into which it was
    read, unless the image was replaced before.

    Parameters
    ----------
    data : mapping
        The batch, with ``"image"``.
    buffer : torch.Tensor
        The buffer of the image, as `BufferPool.acquire` returns it.
    """

    def __init__(self, data: Mapping[str, Any], buffer: torch.Tensor) -> None:
        super().__init__(data)
        self.image = data["image"]
        self.buffer = buffer

    def __copy__(self) -> SharedBatch:
        copy = SharedBatch(self, self.buffer)
        copy.image = self.image
        return copy

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        # for other pickles than those of the queue of workers, see `_send`
        return dict, (dict(self),)


def _send(batch: SharedBatch) -> tuple[Any, ...]:
    """Pickle a batch for the queue of workers."""
    if batch.get("image") is not batch.image:
        return dict, (dict(batch),)
    # As tensors, each would be sent with a file descriptor.
    others = {
        name: value.numpy() if torch.is_tensor(value) and name != "image" else value
        for name, value in batch.items()
    }
    image = others.pop("image").permute(0, 2, 3, 1)
    batch.buffer.numpy()[-_TAIL:][_RECEIVER] = 1
    return _receive, (batch.buffer, tuple(image.shape), image.dtype, others)


def _receive(
    buffer: torch.Tensor, shape: Sequence[int], dtype: torch.dtype, others: Mapping[str, Any]
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "image": _tensor_of(buffer, shape, dtype, _RECEIVER).permute(0, 3, 1, 2)
    }
    for name, value in others.items():
        data[name] = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
    return data


ForkingPickler.register(SharedBatch, _send)
