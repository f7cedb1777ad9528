"""Show every sequence as a tree, and get an item by its number."""

import sys

import pydicom


def show(dataset, indent=0):
    for elem in dataset:
        if elem.VR == "SQ":
            print(" " * indent + f"{elem.tag} {elem.name}: {len(elem.value)}")
            for number, item in enumerate(elem.value):
                print(
                    " " * indent
                    + f"  item {number}: {len(item)} elements, {', '.join(item.dir()[:3])}"
                )
                show(item, indent + 4)


ds = pydicom.dcmread(sys.argv[1])
show(ds)
total = [elem for elem in ds.iterall() if elem.VR == "SQ"]
print(
    len(total), "sequences,", max((len(elem.value) for elem in total), default=0), "items at most"
)
first = total[0].value
print("first:", first[0] == first[-1], [len(item) for item in first[:2]])
item = pydicom.Dataset()
item.CodeMeaning = "added"
first.append(item)
first.insert(0, item)
print("then:", len(first), first[0].CodeMeaning, item in first)
del first[0]
last = first.pop()
print("after:", len(first), last.CodeMeaning)
