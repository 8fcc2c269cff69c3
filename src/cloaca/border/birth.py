"""Birth: what a nursery and the program tell each other, a message each.

The program asks for a worker with its number, that of the initializer, and its descriptors; or for modules to be loaded
before that. What is told:

    FIT               the nursery has loaded all, and workers can be forked from it
    FORKED worker pid there is a process now
    BORN worker pid   the worker says so itself, once it is a session of its own
    REFUSED worker no there is no room for another process, or none that would be the program's child
"""

import struct

FIT, FORKED, BORN, REFUSED = range(4)
TOLD = struct.Struct("=iqq")
"""Which of these it is, the number of the worker, and the process id or error number."""

PROCESSORS = {"x86_64": 56, "aarch64": 220}
"""On which kinds of them a worker can be forked, and the number of the system call `clone` there."""

WANTED = struct.Struct("=qq")
"""The number of a worker that is asked for, and that of the initializer."""

LOAD = b"load "
"""The names of modules follow."""

LONGEST = 4096
"""How many bytes are asked for at most."""

DESCRIPTORS = 4
"""What a worker has of the program: its socket, life-line, mark and permits."""
