"""Appends rows of 100 integers to an SQLite data base, each in a transaction of its own.

Prints how long each took, in nanoseconds. Arguments: file, PRAGMA synchronous, rows, pause in us.
"""

import sqlite3
import sys
import time

file, synchronous, rows, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
base = sqlite3.connect(file, isolation_level=None)
base.execute("PRAGMA journal_mode=WAL")
base.execute("PRAGMA synchronous=" + synchronous)
columns = ", ".join("c%d INTEGER" % column for column in range(100))
base.execute("CREATE TABLE day(t INTEGER PRIMARY KEY, %s)" % columns)
insert = "INSERT INTO day VALUES(%s)" % ", ".join("?" * 101)
counters = list(range(101))
for row in range(rows):
    counters = [row] + [value + column for column, value in enumerate(counters[1:])]
    time.sleep(pause / 1e6)
    begun = time.perf_counter_ns()
    base.execute(insert, counters)
    print(time.perf_counter_ns() - begun)
