"""A short allocation of a GPU, used to the second: `codepath lease`.

parts.py    what is to be done, ordered by worth, and how long each part should take
work.py     one part after another until the time is up; what was done, and what is left
parcel.py   the files to take home, in pieces that small channels let through
"""
