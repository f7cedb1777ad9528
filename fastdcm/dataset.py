"""`Dataset`: the elements of a data set, with the interface of pydicom's class."""

from __future__ import annotations

from fastdcm.core._copy import copy_level, deepcopy_level, freeze, source_state, thaw
from fastdcm.core._dictionary import Tag, dictionary_VR, keyword_for_tag, tag_for_keyword
from fastdcm.core._elements import DataElement, ElementMap
from fastdcm.core._flat import iterall
from fastdcm.core._level import issues_of, read_meta
from fastdcm.core.private import PrivateBlock, find_private_block, list_private_creators
from fastdcm.formats.pydicom import from_pydicom as _from_pydicom
from fastdcm.formats.pydicom import to_pydicom as _to_pydicom
from fastdcm.formats.text import text_of
from fastdcm.pixels import modality_pixels, overlay_array, pixel_array, to_rgb, windowed
from fastdcm.pixels.frames import open_frames
from fastdcm.writer import dcmwrite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Any, Self, TypeAlias

    import numpy as np
    import pydicom
    from numpy.typing import NDArray

    from fastdcm.core.protocols import TagLike, Target
    from fastdcm.errors import Issue
    from fastdcm.pixels.frames import Frames
    from fastdcm.pixels.protocols import FrameSelection, VOIFunction

    # Elements by tag, or values by keyword.
    _Elements: TypeAlias = ElementMap | Mapping[Any, Any] | Iterable[tuple[Any, Any]]

# Not decoded by check_all: every value is valid.
_BINARY = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN"))


class Dataset(ElementMap):
    """A DICOM data set: its elements by keyword, tag or slice.

    ``ds.PatientName`` and ``ds["PatientName"].value`` are values, ``ds[tag]`` is
    a `DataElement`; both are decoded on access. Iteration is in ascending order
    of tags. A data set that was read from a file reads further values from it on
    access, also after the file was deleted; `load` reads everything into memory,
    and `close` or leaving a ``with`` block closes the file.

    Parameters
    ----------
    *args : Dataset or dict, optional
        A data set or a dict of elements by tag, whose elements are shared.
    **kwargs : object
        Values by keyword.

    Examples
    --------
    >>> from fastdcm import Dataset
    >>> ds = Dataset()
    >>> ds.PatientName = "Doe^Jane"
    >>> ds.PatientName.family_name, ds[0x00100010].VR, "PatientID" in ds
    ('Doe', 'PN', False)
    """

    _file_meta: FileMetaDataset | None = None
    _preamble: bytes | None = None
    _encoding: tuple[bool | None, bool | None] | None = None

    def __init__(self, *args: _Elements, **kwargs: object) -> None:
        if args:
            self.update(args[0])
        for name, value in kwargs.items():
            setattr(self, name, value)

    # ---- the file

    @property
    def file_meta(self) -> FileMetaDataset:
        """The file meta information (group 0002, PS3.10 7.1).

        AttributeError if the data set was not read from a file and none was set.
        """
        meta = self._file_meta
        if meta is None:
            if self._source is None:
                raise AttributeError(f"'{type(self).__name__}' object has no attribute 'file_meta'")
            # setdefault is atomic: all threads get the same object
            meta = self.__dict__.setdefault("_file_meta", read_meta(FileMetaDataset, self._source))
        return meta

    @file_meta.setter
    def file_meta(self, meta: ElementMap | Mapping[Any, Any] | None) -> None:
        if meta is not None and not isinstance(meta, FileMetaDataset):
            meta = FileMetaDataset(meta)
        self._file_meta = meta

    def ensure_file_meta(self) -> None:
        """Set an empty `file_meta` if there is none."""
        if not hasattr(self, "file_meta"):
            self._file_meta = FileMetaDataset()

    @property
    def preamble(self) -> bytes | None:
        """The 128 bytes at the beginning of the file (PS3.10 7.1), or None."""
        if self._preamble is None and self._source is not None:
            return self._source.preamble
        return self._preamble

    @preamble.setter
    def preamble(self, data: bytes | None) -> None:
        self._preamble = data

    @property
    def filename(self) -> str | bytes | None:
        """The path of the file that it was read from, or None."""
        return self._source.path if self._source is not None else None

    @property
    def issues(self) -> list[Issue]:
        """The repairs made in the levels and values read so far.

        Each is a tuple ``(code, tag path, byte offset, what was done)``.
        `check_all` reads the rest.
        """
        meta = self.file_meta if self._source is not None else None
        return issues_of(self, meta)

    def check_all(self) -> list[Issue]:
        """Read every level, decode every value, and return the complete `issues`.

        Returns
        -------
        list of Issue
        """
        for elem in self._iterall():
            if elem.VR not in _BINARY:
                elem.value  # noqa: B018  # decoding records the issues
        return self.issues

    def load(self) -> None:
        """Read every value into memory and close the file."""
        if self.file is not None:
            self.file.load()

    def close(self) -> None:
        """Close the file; values not in memory can no longer be read."""
        if self.file is not None:
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---- encoding

    @property
    def original_encoding(self) -> tuple[bool | None, bool | None]:
        """(is implicit VR, is little endian) as read; (None, None) if not read."""
        if self._encoding is not None:
            return self._encoding
        if self.file is None:
            return (None, None)
        return self._level_encoding()

    def set_original_encoding(
        self,
        is_implicit_vr: bool | None,
        is_little_endian: bool | None,
        character_encoding: object = None,
    ) -> None:
        """Set `original_encoding`.

        Parameters
        ----------
        is_implicit_vr, is_little_endian : bool or None
            The encoding.
        character_encoding : ignored
            For compatibility with pydicom.
        """
        self._encoding = (is_implicit_vr, is_little_endian)

    @property
    def is_implicit_VR(self) -> bool | None:
        """Whether it was read in implicit VR, as of `original_encoding`."""
        return self.original_encoding[0]

    @is_implicit_VR.setter
    def is_implicit_VR(self, implicit: bool | None) -> None:
        self._encoding = (implicit, self.original_encoding[1])

    @property
    def is_little_endian(self) -> bool | None:
        """Whether it was read in little endian, as of `original_encoding`."""
        return self.original_encoding[1]

    @is_little_endian.setter
    def is_little_endian(self, little: bool | None) -> None:
        self._encoding = (self.original_encoding[0], little)

    read_implicit_vr = is_implicit_VR
    read_little_endian = is_little_endian

    # ---- elements

    def update(self, other: _Elements) -> None:
        """Add elements and values, replacing those with the same tag.

        Parameters
        ----------
        other : Dataset, dict or iterable of pairs
            DataElements by tag, or values by keyword.
        """
        items: Iterable[tuple[Any, Any]] = other.items() if hasattr(other, "items") else other
        for key, elem in items:
            if isinstance(elem, DataElement):
                self[key] = elem
            else:
                setattr(self, key, elem)

    def setdefault(self, key: TagLike, default: object = None) -> DataElement:
        """Return the element with a tag, adding it if there is none.

        Parameters
        ----------
        key : int, str or tuple of int
            A tag or keyword.
        default : DataElement or object
            The element to add, or its value; the VR is then that of PS3.6.

        Returns
        -------
        DataElement

        Raises
        ------
        KeyError
            If the VR is needed and the tag is not in PS3.6.
        """
        if key not in self:
            if isinstance(default, DataElement):
                self[key] = default
            else:
                self.add(DataElement(key, dictionary_VR(key), default))
        return self[key]

    def pop(self, key: TagLike, *default: Any) -> Any:
        """Remove and return an element.

        Parameters
        ----------
        key : int, str or tuple of int
            A tag or keyword.
        default : object, optional
            Returned if there is no such element.

        Returns
        -------
        DataElement or object

        Raises
        ------
        KeyError
            If there is no such element and no default.
        """
        try:
            elem = self[key]
        except (KeyError, ValueError):
            if default:
                return default[0]
            raise
        del self[key]
        return elem

    def popitem(self) -> tuple[Tag, DataElement]:
        """Remove and return the last tag and element."""
        if not self:
            raise KeyError("popitem(): the data set is empty")
        key = self.keys()[-1]
        return key, self.pop(key)

    def elements(self) -> Iterator[DataElement]:
        """Iterate over the elements, without decoding their values."""
        return iter(self)

    def data_element(self, name: str) -> DataElement | None:
        """Return the element with a keyword, or None.

        Parameters
        ----------
        name : str
            A keyword.

        Returns
        -------
        DataElement or None
        """
        tag = tag_for_keyword(name)
        return self.get(tag) if tag is not None else None

    def group_dataset(self, group: int) -> Self:
        """Return a Dataset with the elements of one group, which are shared.

        Parameters
        ----------
        group : int
            The group number.

        Returns
        -------
        Dataset
        """
        return self[group << 16 : (group + 1) << 16 if group < 0xFFFF else None]

    def iterall(self) -> Iterator[DataElement]:
        """Iterate over the elements of all levels.

        The elements of items follow the sequence that contains them.

        Examples
        --------
        >>> from fastdcm import Dataset
        >>> ds = Dataset()
        >>> ds.ReferencedStudySequence = [Dataset(StudyInstanceUID="1.2")]
        >>> [elem.keyword for elem in ds.iterall()]
        ['ReferencedStudySequence', 'StudyInstanceUID']
        """
        return iterall(self)

    def walk(
        self, callback: Callable[[Dataset, DataElement], object], recursive: bool = True
    ) -> None:
        """Call a function for every element.

        The elements of items follow the sequence that contains them. The
        function may change or delete the element.

        Parameters
        ----------
        callback : callable
            Called with the data set and the element.
        recursive : bool, default True
            Also for the elements of items.
        """
        for tag in self.keys():  # iteration gives elements
            elem = self.get(int(tag))
            if elem is None:
                continue
            callback(self, elem)
            if recursive and elem.VR == "SQ" and tag in self:
                for item in self[tag].value:
                    item.walk(callback, recursive)

    def dir(self, *filters: str) -> list[str]:
        """Return the keywords of the elements, sorted.

        Parameters
        ----------
        *filters : str
            Only keywords that contain one of these, ignoring case.

        Returns
        -------
        list of str
        """
        names = [keyword_for_tag(tag) for tag in self.keys()]  # as above
        wanted = [f.lower() for f in filters]
        return sorted(
            name
            for name in names
            if name and (not wanted or any(f in name.lower() for f in wanted))
        )

    def __dir__(self) -> list[str]:
        return sorted(set(super().__dir__()) | set(self.dir()))

    trait_names = __dir__

    # ---- pixels

    @property
    def frames(self) -> Frames:
        """The frames of the pixel data (PS3.3 C.7.6.3), each decoded on access.

        Examples
        --------
        >>> ds.frames[3].shape  # doctest: +SKIP
        (512, 512)
        """
        self.__dict__["_frames"] = frames = open_frames(self, self.__dict__.get("_frames"))
        return frames

    @property
    def pixel_array(self) -> NDArray[Any]:
        """The stored values of the pixel data, as from `get_pixels`."""
        return pixel_array(self)

    def get_pixels(
        self,
        mmap: bool | None = None,
        native_endian: bool = False,
        *,
        threads: int | None = None,
        out: NDArray[Any] | None = None,
        max_ratio: int = 1032,
    ) -> NDArray[Any]:
        """Return the stored values of all frames: `fastdcm.pixels.pixel_array`.

        Parameters
        ----------
        mmap : bool, optional
            Map native pixel data instead of reading it; by default from 1 MB.
        native_endian : bool, default False
            Convert to the byte order of the machine.
        threads, out, max_ratio
            As of `fastdcm.pixels.pixel_array`.

        Returns
        -------
        ndarray
            Of shape (frames, rows, columns, samples), without the dimensions
            that are 1 (frames and samples).

        Raises
        ------
        DicomError
            If there is no pixel data, or it cannot be decoded.
        """
        return pixel_array(self, mmap, native_endian, threads=threads, out=out, max_ratio=max_ratio)

    def modality_pixels(
        self, frames: FrameSelection = None, out: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Return modality values, such as Hounsfield units (PS3.3 C.11.1).

        Parameters
        ----------
        frames, out
            As of `fastdcm.pixels.modality_pixels`.

        Returns
        -------
        ndarray of float32
        """
        return modality_pixels(self, frames, out)

    def windowed(
        self,
        frames: FrameSelection = None,
        *,
        center: float | None = None,
        width: float | None = None,
        function: VOIFunction | None = None,
        index: int = 0,
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Return grayscale values for display (PS3.3 C.11.2).

        Parameters
        ----------
        frames, center, width, function, index, out
            As of `fastdcm.pixels.windowed`.

        Returns
        -------
        ndarray of uint8
        """
        return windowed(
            self, frames, center=center, width=width, function=function, index=index, out=out
        )

    def to_rgb(
        self,
        frames: FrameSelection = None,
        *,
        center: float | None = None,
        width: float | None = None,
        index: int = 0,
    ) -> NDArray[np.uint8]:
        """Return any image as RGB for display.

        Parameters
        ----------
        frames, center, width, index
            As of `fastdcm.pixels.to_rgb`.

        Returns
        -------
        ndarray of uint8
        """
        return to_rgb(self, frames, center=center, width=width, index=index)

    def overlay_array(self, group: int) -> NDArray[np.uint8]:
        """Return the bits of the overlay in a group (PS3.3 C.9.2).

        Parameters
        ----------
        group : int
            The group number, 0x6000 to 0x60FE.

        Returns
        -------
        ndarray of uint8
            0 or 1, as from `fastdcm.pixels.overlay_array`.
        """
        return overlay_array(self, group)

    # ---- private elements

    def private_block(self, group: int, private_creator: str, create: bool = False) -> PrivateBlock:
        """Return the block of a private creator (PS3.5 7.8.1).

        Parameters
        ----------
        group : int
            The group number, which is odd.
        private_creator : str
            The private creator.
        create : bool, default False
            Create the block if there is none.

        Returns
        -------
        PrivateBlock

        Raises
        ------
        KeyError
            If there is no such block, or no block is free.
        ValueError
            If the group is even or the private creator is empty.
        """
        return find_private_block(self, group, private_creator, create)

    def private_creators(self, group: int) -> list[str]:
        """Return the private creators of a group.

        Parameters
        ----------
        group : int
            The group number, which is odd.

        Returns
        -------
        list of str

        Raises
        ------
        ValueError
            If the group is even.
        """
        return list_private_creators(self, group)

    def get_private_item(
        self, group: int, element_offset: int, private_creator: str
    ) -> DataElement:
        """Return an element of a private block.

        Parameters
        ----------
        group, private_creator
            As of `private_block`.
        element_offset : int
            0 to 255.

        Returns
        -------
        DataElement

        Raises
        ------
        KeyError
            If there is no such element.
        """
        return self.private_block(group, private_creator)[element_offset]

    def add_new_private(
        self, private_creator: str, group: int, element_offset: int, value: object, VR: str
    ) -> None:
        """Add a private element, and its block if there is none.

        Parameters
        ----------
        private_creator, group
            As of `private_block`.
        element_offset : int
            0 to 255.
        value : object
            The value.
        VR : str
            The value representation.
        """
        self.private_block(group, private_creator, create=True).add_new(element_offset, VR, value)

    def remove_private_tags(self) -> None:
        """Remove the private elements of all levels."""

        def remove(ds: Dataset, elem: DataElement) -> None:
            if elem.is_private:
                del ds[elem.tag]

        self.walk(remove)

    # ---- text

    def __str__(self) -> str:
        return text_of(self, items=True)

    __repr__ = __str__

    def top(self) -> str:
        """Return the same text as ``str(ds)``, without the items of sequences."""
        return text_of(self, items=False)

    # ---- writing and copying

    def save_as(
        self,
        target: Target,
        *,
        enforce_file_format: bool = False,
        write_like_original: bool | None = None,
        implicit_vr: bool | None = None,
        little_endian: bool | None = None,
        transfer_syntax: str | None = None,
        overwrite: bool = True,
        durable: bool = True,
        strict: bool = True,
    ) -> None:
        """Write the data set to a path or file object, as `fastdcm.dcmwrite`.

        Parameters
        ----------
        target, enforce_file_format, implicit_vr, little_endian, transfer_syntax, overwrite
            As of `fastdcm.dcmwrite`.
        durable, strict
            As of `fastdcm.dcmwrite`.
        write_like_original : bool, optional
            The inverse of `enforce_file_format`; for compatibility with pydicom.

        Raises
        ------
        WriteError
            If the data set cannot be written as requested.
        OSError
            If the file cannot be written.
        """
        if write_like_original is not None:
            enforce_file_format = not write_like_original
        dcmwrite(
            target,
            self,
            enforce_file_format,
            implicit_vr=implicit_vr,
            little_endian=little_endian,
            transfer_syntax=transfer_syntax,
            overwrite=overwrite,
            durable=durable,
            strict=strict,
        )

    def to_pydicom(self) -> pydicom.Dataset:
        """Return a copy as a data set of pydicom, in memory.

        Returns
        -------
        pydicom.Dataset
            A pydicom FileDataset if this data set was read from a file.

        Raises
        ------
        ImportError
            If pydicom is not installed.
        """
        return _to_pydicom(self)

    def copy(self) -> Self:
        """Return a shallow copy.

        Setting an element in one leaves the other unchanged; lists and sequences
        are shared.

        Returns
        -------
        Dataset
        """
        return self.__copy__()

    def __copy__(self) -> Self:
        new = copy_level(self, type(self).__new__(type(self)))
        new._source = self._source
        new.__dict__.update(self.__dict__)
        if self._file_meta is not None:
            new._file_meta = self._file_meta.copy()
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        from copy import deepcopy  # loaded by the caller; not needed to read

        new = memo[id(self)] = type(self).__new__(type(self))
        deepcopy_level(self, new, memo)
        new._source = self._source
        new.__dict__.update(deepcopy(self._attributes(), memo))
        return new

    def _attributes(self) -> dict[str, Any]:
        """Return the attributes of the object that are copied and pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_frames"}

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = self._attributes()
        if self._source is not None:
            attributes["_file_meta"] = self.file_meta
        source = source_state(self._source) if self._source is not None else None
        return thaw, (type(self), freeze(self), attributes, source)


class FileMetaDataset(Dataset):
    """The file meta information (PS3.10 7.1): only elements of group 0002.

    Parameters
    ----------
    *args, **kwargs
        As of `Dataset`.

    Raises
    ------
    ValueError
        If an element is of another group.
    """

    def __init__(self, *args: _Elements, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        for tag in self.keys():  # iteration gives elements
            _require_group_2(tag)

    def add(self, data_element: DataElement) -> None:
        """Add an element of group 0002, replacing one with the same tag.

        Parameters
        ----------
        data_element : DataElement
            The element.

        Raises
        ------
        ValueError
            If it is of another group.
        """
        _require_group_2(data_element.tag)
        super().add(data_element)


def _require_group_2(tag: Tag) -> None:
    if tag.group != 2:
        raise ValueError(f"file meta information must have only elements of group 0002, got {tag}")


def from_pydicom(ds: pydicom.Dataset) -> Dataset:
    """Return a Dataset with the contents of a data set of pydicom.

    Elements that pydicom did not change keep their bytes.

    Parameters
    ----------
    ds : pydicom.Dataset
        The data set, with its preamble and file meta information if it has them.

    Returns
    -------
    Dataset

    Raises
    ------
    ImportError
        If pydicom is not installed.
    Exception
        As raised by pydicom for values that it cannot write.

    Examples
    --------
    >>> import pydicom
    >>> import fastdcm
    >>> theirs = pydicom.Dataset()
    >>> theirs.PatientID = "12345"
    >>> fastdcm.from_pydicom(theirs).PatientID
    '12345'
    """
    return _from_pydicom(ds, Dataset, FileMetaDataset)
