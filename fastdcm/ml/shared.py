"""Memory for batches, used again and again.

New memory, and shared memory above all, costs a page fault for every 4 KiB:
several times what reading and converting a frame costs. So a process keeps the
pieces it has read into, and reads into one again when nobody looks at it any
more: each piece ends in two flags, of the reader's tensor and of that of the
process it was sent to, which both clear when their tensor is gone.
"""

import os
import threading
import weakref
from multiprocessing.reduction import ForkingPickler

import numpy as np
import torch

_TAIL = 64  # bytes behind the data, of which two are flags
_SPARE = 4  # free pieces that are kept: more than a worker is asked to prefetch
_HERE, _THERE = 0, 1


def fresh(shape, dtype):
    """An uninitialised tensor. By NumPy, which asks for huge pages."""
    return torch.from_numpy(np.empty(_size(shape, dtype), np.uint8)).view(dtype).view(shape)


def _size(shape, dtype):
    size = dtype.itemsize
    for n in shape:
        size *= n
    return size


def _tensor(whole, shape, dtype, flag):
    """The piece as a tensor that holds one of its flags."""
    cells = whole.numpy()
    flags = cells[-_TAIL:]
    flags[flag] = 1
    data = memoryview(cells)[: _size(shape, dtype)]
    # torch keeps `data`, nothing else does: so it goes with the last view.
    weakref.finalize(data, flags.__setitem__, flag, 0).atexit = False
    return torch.frombuffer(data, dtype=dtype).view(shape)


class Pool:
    """The pieces of one process. shared : in shared memory, for a worker."""

    def __init__(self, shared):
        self.pid = os.getpid()
        self._shared = shared
        self._pieces = []
        self._lock = threading.Lock()

    def take(self, shape, dtype):
        """(tensor, piece)."""
        size = _size(shape, dtype) + _TAIL
        with self._lock:
            busy, fitting = [], []
            for whole in self._pieces:
                if whole.numpy()[-_TAIL:][:2].any():
                    busy.append(whole)
                elif len(whole) >= size and len(fitting) < _SPARE:
                    fitting.append(whole)
            if not fitting:
                fitting.append(self._new(size))
            self._pieces = busy + fitting
            return _tensor(fitting[0], shape, dtype, _HERE), fitting[0]

    def _new(self, size):
        if self._shared:
            storage = torch.UntypedStorage._new_shared(size)
            whole = torch.empty(0, dtype=torch.uint8).set_(storage, 0, (size,))
        else:
            whole = fresh((size,), torch.uint8)
        whole[-_TAIL:] = 0
        return whole


class Parcel(dict):
    """A batch in a worker. It arrives as a dict; its image in the memory it was
    read into, unless somebody put another in its place."""

    def __init__(self, data, whole):
        super().__init__(data)
        self.image, self.whole = data["image"], whole

    def __copy__(self):
        again = Parcel(self, self.whole)
        again.image = self.image
        return again

    def __reduce__(self):  # other pickles than that of the workers' queue
        return dict, (dict(self),)


def _send(parcel):
    if parcel.get("image") is not parcel.image:
        return dict, (dict(parcel),)
    # Small tensors would each be a file descriptor.
    small = {
        name: value.numpy() if torch.is_tensor(value) and name != "image" else value
        for name, value in parcel.items()
    }
    image = small.pop("image").permute(0, 2, 3, 1)
    parcel.whole.numpy()[-_TAIL:][_THERE] = 1
    return _receive, (parcel.whole, tuple(image.shape), image.dtype, small)


def _receive(whole, shape, dtype, small):
    data = {"image": _tensor(whole, shape, dtype, _THERE).permute(0, 3, 1, 2)}
    for name, value in small.items():
        data[name] = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
    return data


ForkingPickler.register(Parcel, _send)
