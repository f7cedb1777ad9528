"""Compare two files line by line and element by element."""

import difflib
import sys

import pydicom

first, second = pydicom.dcmread(sys.argv[1]), pydicom.dcmread(sys.argv[2])
lines = [str(ds).split("\n") for ds in (first, second)]
for line in difflib.unified_diff(*lines, "first", "second", n=0, lineterm=""):
    print(line)
print("equal:", first == second, "to itself:", first == pydicom.dcmread(sys.argv[1]))
ours, theirs = set(first.keys()), set(second.keys())
print("only in the first:", [str(tag) for tag in sorted(ours - theirs)])
print("only in the second:", [str(tag) for tag in sorted(theirs - ours)])
for tag in sorted(ours & theirs):
    if first[tag] != second[tag]:
        print("differs:", tag, first[tag].name)
