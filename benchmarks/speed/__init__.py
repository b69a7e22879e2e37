"""This service beside what else a user could run on the same weights: `make bench`.

Every system is a process of its own on this machine, kept alive but idle while another one is
asked. They are asked in turn, round after round, so that drift falls on all alike.

    prose.py -> corpus.py      real sentences, cut into passages and queries with known answers
    environments.py            what other packages need, each in a virtual environment of its own
    workers/                   what runs in the other processes
    processes.py -> systems.py the systems, each with the same four verbs
    measure.py                 rounds at one client, load at several
    figures.py -> report.py    percentiles, ratios, bars; picture.py; tables.py, for the docs
"""
