"""A short allocation of a GPU, used to the second: `codepath lease`.

parts.py    the parts of a lease, ordered by worth, and how long each of them should take
work.py     does one part after another until the time is up, and reports what is done and left
parcel.py   packs the files to take home in pieces small enough for narrow channels
"""
