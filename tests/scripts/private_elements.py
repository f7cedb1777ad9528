"""Read private elements, and reserve a private block."""

import io
import sys

import pydicom

ds = pydicom.dcmread(sys.argv[1])
groups = sorted({elem.tag.group for elem in ds if elem.tag.is_private and elem.tag.group > 8})
for group in groups:
    for creator in ds.private_creators(group):
        block = ds.private_block(group, creator)
        present = [offset for offset in range(256) if offset in block]
        print(f"{group:04x} {creator!r} at {block.block_start:04x}: {len(present)} elements")
        for offset in present[:3]:
            elem = block[offset]
            print("   ", elem.tag, elem.VR, elem.VM, elem.private_creator)

block = ds.private_block(0x000B, "An Institution 1.0", create=True)
block.add_new(0x01, "SH", "my value")
block.add_new(0x02, "DS", [1.5, 2.5])
print(block.get_tag(0x01), block[0x01].value, block[0x02].value, 0x03 in block)
try:
    ds.private_block(0x000B, "Somebody Else")
except KeyError:
    print("no such creator")
out = io.BytesIO()
ds.save_as(out)
out.seek(0)
again = pydicom.dcmread(out)
print(
    again[0x000B0010].value,
    list(map(float, again.private_block(0x000B, "An Institution 1.0")[0x02].value)),
)
del block[0x01]
print([str(tag) for tag in ds.keys() if tag.group == 0x000B])  # noqa: SIM118  # iteration gives elements
ds.remove_private_tags()
print(sum(elem.tag.is_private for elem in ds.iterall()), "private elements left")
