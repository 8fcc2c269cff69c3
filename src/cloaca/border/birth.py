"""Birth: what a nursery and the program tell each other, a message each.

The program asks for a worker with its number, that of the initializer, and its descriptors; or for modules to be loaded
before that. What is told:

    FIT            the nursery has loaded all, and workers can be forked from it
    BORN pid       a worker says so itself, once it is a session of its own, with a descriptor that tells its end
    REFUSED errno  there is no room for another process
    ENDED pid how  a worker has ended, and nothing is left of it; `how` as `os.waitpid` has it
    HELD pid       a worker has ended, and a debugger keeps what is left of it
"""

import struct

FIT, BORN, REFUSED, ENDED, HELD = range(5)
TOLD = struct.Struct("=iqi")
"""Which of these it is, the process id or error number, and how a process has ended."""

WANTED = struct.Struct("=qq")
"""The number of a worker that is asked for, and that of the initializer."""

LOAD = b"load "
"""The names of modules follow."""

LONGEST = 4096
"""How many bytes are asked for at most."""

DESCRIPTORS = 4
"""What a worker has of the program: its socket, life-line, mark and permits."""
