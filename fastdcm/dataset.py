"""Dataset: the element map with the manners that code in the wild expects."""

from fastdcm.core._dictionary import Tag, dictionary_VR, keyword_for_tag, tag_for_keyword
from fastdcm.core._elements import DataElement, ElementMap
from fastdcm.core._encode import copy_level, deepcopy_level, freeze, source_state, thaw
from fastdcm.core._flat import issues_of, iterall, read_meta
from fastdcm.formats.pydicom import from_pydicom as _from_pydicom
from fastdcm.formats.pydicom import to_pydicom as _to_pydicom
from fastdcm.pixels import modality_pixels, overlay_array, pixel_array, to_rgb, windowed
from fastdcm.pixels.frames import open_frames
from fastdcm.writer import dcmwrite

_BYTES = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN"))


class PrivateBlock:
    """The 256 elements that one private creator reserved (PS3.5 7.8.1)."""

    def __init__(self, key, dataset, private_creator_element):
        self.group, self.private_creator = key
        self.dataset = dataset
        self.block_start = private_creator_element << 8

    def get_tag(self, element_offset):
        """The tag of the element with these lowest 8 bits."""
        if element_offset > 0xFF:
            raise ValueError("Element offset must be less than 256")
        return Tag(self.group, self.block_start + element_offset)

    def __contains__(self, element_offset):
        return self.get_tag(element_offset) in self.dataset

    def __getitem__(self, element_offset):
        return self.dataset[self.get_tag(element_offset)]

    def __delitem__(self, element_offset):
        del self.dataset[self.get_tag(element_offset)]

    def add_new(self, element_offset, VR, value):
        tag = self.get_tag(element_offset)
        self.dataset.add_new(tag, VR, value)
        self.dataset[tag].private_creator = self.private_creator


class Dataset(ElementMap):
    """A DICOM data set: elements by keyword, tag or slice.

    ``ds.PatientName`` and ``ds["PatientName"].value`` give values, ``ds[tag]``
    elements; both are decoded when asked for. Iteration is in ascending order
    of tags. A data set from a file reads what it needs when it needs it: it
    works after the file was deleted, ``load()`` brings everything into memory
    and ``close()``, or leaving a ``with`` block, lets go of the file.
    """

    _file_meta = None
    _preamble = None
    _encoding = None

    def __init__(self, *args, **kwargs):
        """Dataset() is empty; Dataset(other) and Dataset({tag: element})
        share the elements of another."""
        if args:
            self.update(args[0])
        for name, value in kwargs.items():
            setattr(self, name, value)

    # ---- the file around it

    @property
    def file_meta(self):
        """The file meta information (group 0002), a FileMetaDataset."""
        if self._file_meta is None:
            if self._source is None:
                raise AttributeError(f"'{type(self).__name__}' object has no attribute 'file_meta'")
            # atomic, for threads that ask at once
            self.__dict__.setdefault("_file_meta", read_meta(FileMetaDataset, self._source))
        return self._file_meta

    @file_meta.setter
    def file_meta(self, meta):
        if meta is not None and not isinstance(meta, FileMetaDataset):
            meta = FileMetaDataset(meta)
        self._file_meta = meta

    def ensure_file_meta(self):
        """Makes sure that there is a `file_meta`."""
        if not hasattr(self, "file_meta"):
            self._file_meta = FileMetaDataset()

    @property
    def preamble(self):
        """The 128 bytes before DICM, or None."""
        if self._preamble is None and self._source is not None:
            return self._source.preamble
        return self._preamble

    @preamble.setter
    def preamble(self, data):
        self._preamble = data

    @property
    def filename(self):
        """The path that it was read from, or None."""
        return self._source.path if self._source is not None else None

    @property
    def issues(self):
        """The repairs made in what has been entered so far, a list of
        ``(code, tag path, byte offset, what was done)``. `check_all` enters
        the rest."""
        meta = self.file_meta if self._source is not None else None
        return issues_of(self, meta)

    def check_all(self):
        """Enters every level and decodes every value, so that `issues` is
        complete, and returns it."""
        for elem in self._iterall():
            if elem.VR not in _BYTES:  # bytes are what they are
                elem.value
        return self.issues

    def load(self):
        """Brings every value into memory and lets go of the file."""
        if self.file is not None:
            self.file.load()

    def close(self):
        """Lets go of the file; values not in memory can no longer be read."""
        if self.file is not None:
            self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    # ---- encoding

    @property
    def original_encoding(self):
        """(is implicit VR, is little endian) as read, (None, None) if made."""
        if self._encoding is not None:
            return self._encoding
        if self.file is None:
            return (None, None)
        return self._level_encoding()

    def set_original_encoding(self, is_implicit_vr, is_little_endian, character_encoding=None):
        self._encoding = (is_implicit_vr, is_little_endian)

    @property
    def is_implicit_VR(self):
        return self.original_encoding[0]

    @is_implicit_VR.setter
    def is_implicit_VR(self, implicit):
        self._encoding = (implicit, self.original_encoding[1])

    @property
    def is_little_endian(self):
        return self.original_encoding[1]

    @is_little_endian.setter
    def is_little_endian(self, little):
        self._encoding = (self.original_encoding[0], little)

    read_implicit_vr = is_implicit_VR
    read_little_endian = is_little_endian

    # ---- elements

    def update(self, other):
        """Takes over the elements of a Dataset or a dict of elements or
        values by tag or keyword."""
        items = other.items() if hasattr(other, "items") else other
        for key, elem in items:
            if isinstance(elem, DataElement):
                self[key] = elem
            else:
                setattr(self, key, elem)

    def setdefault(self, key, default=None):
        """The element at `key`, made from `default` if there is none."""
        if key not in self:
            if isinstance(default, DataElement):
                self[key] = default
            else:
                from_dictionary = DataElement(key, dictionary_VR(key), default)
                self.add(from_dictionary)
        return self[key]

    def pop(self, key, *default):
        """Removes and returns an element."""
        try:
            elem = self[key]
        except (KeyError, ValueError):
            if default:
                return default[0]
            raise
        del self[key]
        return elem

    def popitem(self):
        """Removes and returns the last tag and element."""
        if not self:
            raise KeyError("popitem(): the data set is empty")
        key = self.keys()[-1]
        return key, self.pop(key)

    def elements(self):
        """The elements, their values not decoded yet."""
        return iter(self)

    def data_element(self, name):
        """The element with this keyword, or None."""
        tag = tag_for_keyword(name)
        return self.get(tag) if tag is not None else None

    def group_dataset(self, group):
        """A Dataset of the elements of one group."""
        return self[group << 16 : (group + 1) << 16 if group < 0xFFFF else None]

    def iterall(self):
        """Every element at every depth, those of items after the sequence
        that holds them."""
        return iterall(self)

    def walk(self, callback, recursive=True):
        """Calls ``callback(dataset, element)`` for every element, those of
        items after the sequence that holds them."""
        for tag in self.keys():
            elem = self.get(int(tag))
            if elem is None:
                continue
            callback(self, elem)
            if recursive and elem.VR == "SQ" and tag in self:
                for item in self[tag].value:
                    item.walk(callback, recursive)

    def dir(self, *filters):
        """The keywords of the elements, sorted; only those that contain one
        of `filters` (in any case)."""
        names = [keyword_for_tag(tag) for tag in self.keys()]
        wanted = [f.lower() for f in filters]
        return sorted(
            name
            for name in names
            if name and (not wanted or any(f in name.lower() for f in wanted))
        )

    def __dir__(self):
        return sorted(set(super().__dir__()) | set(self.dir()))

    trait_names = __dir__

    # ---- pixels

    @property
    def frames(self):
        """The frames of the pixel data, each decoded when it is asked for: a
        `fastdcm.pixels.frames.Frames`."""
        self.__dict__["_frames"] = frames = open_frames(self, self.__dict__.get("_frames"))
        return frames

    @property
    def pixel_array(self):
        """The stored values of the pixel data; see `get_pixels`."""
        return pixel_array(self)

    def get_pixels(self, mmap=None, native_endian=False, *, threads=None, out=None):
        """As `fastdcm.pixels.pixel_array`."""
        return pixel_array(self, mmap, native_endian, threads=threads, out=out)

    def modality_pixels(self, frames=None, out=None):
        """Hounsfield units and their like as float32: `fastdcm.pixels.modality_pixels`."""
        return modality_pixels(self, frames, out)

    def windowed(self, frames=None, *, center=None, width=None, function=None, index=0, out=None):
        """Greyscale for the eye as uint8: `fastdcm.pixels.windowed`."""
        return windowed(
            self, frames, center=center, width=width, function=function, index=index, out=out
        )

    def to_rgb(self, frames=None, *, center=None, width=None, index=0):
        """Any image as RGB for the eye, uint8: `fastdcm.pixels.color.to_rgb`."""
        return to_rgb(self, frames, center=center, width=width, index=index)

    def overlay_array(self, group):
        """The bits of the overlay in a group, as `fastdcm.pixels.overlay.overlay_array`."""
        return overlay_array(self, group)

    # ---- private elements

    def private_block(self, group, private_creator, create=False):
        """The block of a private creator in an odd group (PS3.5 7.8.1).
        Raises KeyError when there is none and it is not to be created."""
        if group % 2 == 0:
            raise ValueError("Group must be an odd number")
        if not private_creator:
            raise ValueError("Private creator must have a value")
        for element in range(0x10, 0x100):
            elem = self.get(group << 16 | element)
            if elem is None:
                if create:
                    self.add_new(group << 16 | element, "LO", private_creator)
                    return PrivateBlock((group, private_creator), self, element)
            elif elem.value == private_creator:
                return PrivateBlock((group, private_creator), self, element)
        if create:
            raise KeyError(f"no free private block in group 0x{group:04x}")
        raise KeyError(f"Private creator '{private_creator}' not found")

    def private_creators(self, group):
        """The private creators of an odd group, a list of str."""
        if group % 2 == 0:
            raise ValueError("Group must be an odd number")
        return [elem.value for elem in self[group << 16 | 0x10 : group << 16 | 0x100]]

    def get_private_item(self, group, element_offset, private_creator):
        """The element of a private block."""
        return self.private_block(group, private_creator)[element_offset]

    def add_new_private(self, private_creator, group, element_offset, value, VR):
        """Adds a private element, and its block if need be."""
        self.private_block(group, private_creator, create=True).add_new(element_offset, VR, value)

    def remove_private_tags(self):
        """Removes every private element at every depth."""

        def remove(ds, elem):
            if elem.is_private:
                del ds[elem.tag]

        self.walk(remove)

    # ---- text

    def __str__(self):
        return self._text(True)

    __repr__ = __str__

    def top(self):
        """The same text without the items of sequences."""
        return self._text(False)

    def _text(self, deep):
        lines = []
        if self._source is not None or self._file_meta is not None:
            if self.file_meta:
                lines.append(f"{'Dataset.file_meta ':-<49}")
                lines += [str(elem) for elem in self.file_meta]
                lines.append("-" * 49)
        self._format(lines, "", deep)
        return "\n".join(lines)

    def _format(self, lines, indent, deep):
        for elem in self:
            if elem.VR == "SQ":
                lines.append(f"{indent}{elem.tag}  {elem.name}  {len(elem.value)} item(s) ---- ")
                for item in elem.value if deep else ():
                    if not item:
                        lines.append("")
                    item._format(lines, indent + "   ", deep)
                    lines.append(f"{indent}   ---------")
            else:
                lines.append(indent + str(elem))

    # ---- writing and copying

    def save_as(self, target, *, enforce_file_format=False, write_like_original=None, **options):
        """Writes the data set to a path or file object: `fastdcm.dcmwrite`
        with these options. ``write_like_original=False`` is an older name for
        ``enforce_file_format=True``."""
        if write_like_original is not None:
            enforce_file_format = not write_like_original
        dcmwrite(target, self, enforce_file_format, **options)

    def to_pydicom(self):
        """The same data set for pydicom, in memory: a pydicom FileDataset
        when it was read from a file, else a pydicom Dataset."""
        return _to_pydicom(self)

    def copy(self):
        """A shallow copy: setting an element in one of the two leaves the
        other as it is, lists and sequences are shared."""
        return self.__copy__()

    def __copy__(self):
        new = copy_level(self, type(self).__new__(type(self)))
        new._source = self._source
        new.__dict__.update(self.__dict__)
        if self._file_meta is not None:
            new._file_meta = self._file_meta.copy()
        return new

    def __deepcopy__(self, memo):
        from copy import deepcopy  # which called us, and is no part of reading

        new = memo[id(self)] = type(self).__new__(type(self))
        deepcopy_level(self, new, memo)
        new._source = self._source
        new.__dict__.update(deepcopy(self._attributes(), memo))
        return new

    def _attributes(self):
        """What was set on the object, without what it opened."""
        return {name: value for name, value in self.__dict__.items() if name != "_frames"}

    def __reduce__(self):
        attributes = self._attributes()
        if self._source is not None:
            attributes["_file_meta"] = self.file_meta
        source = source_state(self._source) if self._source is not None else None
        return thaw, (type(self), freeze(self), attributes, source)


class FileMetaDataset(Dataset):
    """The file meta information (PS3.10 7.1): group 0002 alone."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for tag in self.keys():
            if tag.group != 2:
                raise ValueError(f"{tag} is no element of the file meta information")

    def add(self, data_element):
        if data_element.tag.group != 2:
            raise ValueError(f"{data_element.tag} is no element of the file meta information")
        super().add(data_element)


def from_pydicom(ds):
    """A Dataset with the elements, preamble and file meta information of one
    of pydicom. Elements that pydicom did not change keep their bytes. Raises
    what pydicom raises for what it cannot write."""
    return _from_pydicom(ds, Dataset, FileMetaDataset)
