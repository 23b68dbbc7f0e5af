"""Measurements in plain memory, where CellProfiler has them in an HDF5 file.

It writes each number of each image by itself, and HDF5 takes longer for that, even in memory,
than all measuring.  Only the two kinds of HDF5's objects are replaced that hold the numbers; how
CellProfiler uses them, types and gaps included, stays its own.
"""

import h5py
import numpy


class Shelf(h5py.Group):
    """A group; its names come in alphabetical order, as HDF5 has them."""

    def __init__(self, name=""):
        self._name = name
        self._things = {}

    @property
    def name(self):
        return self._name

    def require_group(self, name):
        return self._things.setdefault(name, Shelf(f"{self._name}/{name}"))

    def create_dataset(self, name, shape=None, dtype=None, data=None, **_storage):
        self._things[name] = Column(numpy.zeros(shape, dtype) if data is None else data, dtype)
        return self._things[name]

    def keys(self):
        return sorted(self._things)

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self._things)

    def __contains__(self, name):
        return name in self._things

    def __getitem__(self, name):
        return self._things[name]

    def __delitem__(self, name):
        del self._things[name]

    def __repr__(self):
        return f"Shelf({self._name!r})"


class Column(h5py.Dataset):
    """A data set."""

    def __init__(self, values, dtype):
        self._values = numpy.array(values, dtype)

    @property
    def shape(self):
        return self._values.shape

    @property
    def dtype(self):
        return self._values.dtype

    def resize(self, size, axis=None):
        old = self._values
        shape = tuple(size) if axis is None else (*old.shape[:axis], size, *old.shape[axis + 1 :])
        self._values = numpy.zeros(shape, old.dtype)
        kept = tuple(slice(0, min(pair)) for pair in zip(shape, old.shape, strict=True))
        self._values[kept] = old[kept]

    def __len__(self):
        return len(self._values)

    def __getitem__(self, at):
        # A copy, as out of a file: what is done to it must not reach the numbers kept.
        return numpy.array(self._values[at])

    def __setitem__(self, at, values):
        self._values[at] = values

    def __array__(self, dtype=None):
        return numpy.array(self._values, dtype)

    def __repr__(self):
        return f"Column({self._values!r})"
