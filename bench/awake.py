"""Processors that do not fall asleep between two queries.

With one client, a processor has nothing to do while the client or the server
has the turn.  It goes to sleep then, and in a virtual machine waking it takes
the hypervisor tens of microseconds, twice for each query: which is a property
of the machine, and no small part of a query of 200 microseconds.  A process of
idle priority on each processor prevents it, and gives way to all others.
"""

import contextlib
import os
import subprocess
import sys

_SPIN = ("import os\n"
         "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n"
         "parent = os.getppid()\n"
         "while os.getppid() == parent:\n"
         "    for _ in range(100000):\n"
         "        pass\n")


@contextlib.contextmanager
def processors(wanted):
    """Keeps all processors awake for the block, if that is wanted."""
    spinning = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(os.cpu_count() if wanted else 0)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
