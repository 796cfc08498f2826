"""The parts of `scripts/demo.py`, one for each thing that it does.

`screen` prints, `home` decides which folder may be used, `histories` finds what to import, `branches` draws a history in a
few lines, `trip` is the run that the demonstration makes by itself, `form` the one that another interface writes, `questions`
asks the index, `copies` reads everything back and weighs it. They use the package as any program would and hold no logic that
the package would miss.
"""
