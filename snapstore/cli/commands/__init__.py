"""One module for each command of the command line; each has the `command` that `snapstore.cli.app` loads.

Purpose: a command reads its words, calls the archive, and prints; what several of them share is in `snapstore.cli`.

Promises: a module imports click and its own needs only, so that a command starts as fast as it can; results go to
stdout as tables or, with `--json`, as documents; nothing is deleted or written without being asked for.

Does not: catch errors, choose exit codes or open archives by itself; `main` and `session` do.
"""
