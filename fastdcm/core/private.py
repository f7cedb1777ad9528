"""Private blocks: the elements that a private creator reserves (PS3.5 7.8.1)."""

from __future__ import annotations

from fastdcm.core._dictionary import Tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastdcm.core._elements import DataElement, ElementMap


class PrivateBlock:
    """The elements that a private creator reserves (PS3.5 7.8.1), 256 in each block.

    Elements are found in all blocks of the creator in this group; `get_tag` is of the
    first one. Returned by `fastdcm.Dataset.private_block`. An element is identified by the lowest
    eight bits of its element number, 0 to 255.
    """

    def __init__(
        self, key: tuple[int, str], dataset: ElementMap, private_creator_element: int
    ) -> None:
        self.group, self.private_creator = key
        self.dataset = dataset
        self.block_start = private_creator_element << 8

    def get_tag(self, element_offset: int) -> Tag:
        """Return the tag of an element of the block.

        Parameters
        ----------
        element_offset : int
            0 to 255.

        Returns
        -------
        Tag

        Raises
        ------
        ValueError
            If `element_offset` is more than 255.
        """
        if element_offset > 0xFF:
            raise ValueError(f"element_offset must be less than 256, got {element_offset}")
        return Tag(self.group, self.block_start + element_offset)

    def _find(self, element_offset: int) -> Tag:
        """Return the tag of an element, in this block or a later one of the creator.

        A creator may reserve several blocks of a group (PS3.5 7.8.1).
        """
        tag = self.get_tag(element_offset)
        if tag in self.dataset:
            return tag
        for block in range((self.block_start >> 8) + 1, 0x100):
            creator = self.dataset.get(self.group << 16 | block)
            if creator is not None and creator.value == self.private_creator:
                other = Tag(self.group, block << 8 | element_offset)
                if other in self.dataset:
                    return other
        return tag

    def __contains__(self, element_offset: int) -> bool:
        return self._find(element_offset) in self.dataset

    def __getitem__(self, element_offset: int) -> DataElement:
        return self.dataset[self._find(element_offset)]

    def __delitem__(self, element_offset: int) -> None:
        del self.dataset[self._find(element_offset)]

    def add_new(self, element_offset: int, VR: str, value: object) -> None:
        """Add an element to the block.

        Parameters
        ----------
        element_offset : int
            0 to 255.
        VR : str
            The value representation.
        value : object
            The value.
        """
        tag = self._find(element_offset)
        self.dataset.add_new(tag, VR, value)
        self.dataset[tag].private_creator = self.private_creator


def find_private_block(
    ds: ElementMap, group: int, private_creator: str, create: bool
) -> PrivateBlock:
    """Return the block of a private creator.

    Parameters
    ----------
    ds : Dataset
        The data set.
    group, private_creator, create
        As of `fastdcm.Dataset.private_block`.

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
    _require_private(group)
    if not private_creator:
        raise ValueError("private_creator must not be empty")
    for element in range(0x10, 0x100):
        elem = ds.get(group << 16 | element)
        if elem is None:
            if create:
                ds.add_new(group << 16 | element, "LO", private_creator)
                return PrivateBlock((group, private_creator), ds, element)
        elif elem.value == private_creator:
            return PrivateBlock((group, private_creator), ds, element)
    if create:
        raise KeyError(f"group 0x{group:04X} has no free private block")
    raise KeyError(f"group 0x{group:04X} has no private creator {private_creator!r}")


def list_private_creators(ds: ElementMap, group: int) -> list[str]:
    """Return the private creators of a group.

    Parameters
    ----------
    ds : Dataset
        The data set.
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
    _require_private(group)
    return [elem.value for elem in ds[group << 16 | 0x10 : group << 16 | 0x100]]


def _require_private(group: int) -> None:
    if group % 2 == 0:
        raise ValueError(f"group must be an odd number, got 0x{group:04X}")
