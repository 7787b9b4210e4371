"""The exit statuses: what a script may conclude."""

from __future__ import annotations

import signal

OK = 0
FAILED = 1
USAGE = 2
COMPENSATED = 3
NEEDS_PERSON = 4
STILL_OPEN = 5
HUNG_UP = 129
INTERRUPTED = 130
BROKEN_PIPE = 141
TERMINATED = 143

OF_SIGNAL = {signal.SIGHUP: HUNG_UP, signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}

EPILOG = """\b
Exit status:
  0    it worked; of a run: every saga completed
  1    it did not work, and the error says why; of doctor: there is a problem
  2    the command line is wrong
  3    every saga of a run has ended, and some were compensated
  4    some sagas of a run are stuck or parked: a person is needed
  5    some sagas of a run are still open; run it again, or let a node go on
  129  its terminal was closed, and what was under way had finished
  130  interrupted by Ctrl-C
  141  whoever read the output has gone
  143  terminated, after what was under way had finished

Every command takes --help. The store is --store URL or the variable FINALITY_STORE.
"""
