"""The command line: init save import log ls show cat diff restore fork list query scan export index rm stats doctor completion.

Purpose: everything a person or a script does with an archive from a shell. `main.py` is the entry, `app.py` the group
with its lazily loaded commands, `commands/` one module for each command; the others are shared: `session` opens
archives, `resolve` and `paths` understand `SNAP[~N][:PATH]`, `filters` which snapshots are meant, `lanes` draws histories,
`scanning` runs scans, `output`, `preview` and `results` show.

Promises: results go to stdout, everything else to stderr; `--json` prints documents with a `schema_version`; exit
codes come from the table in `snapstore.errors`; colour and progress bars appear on a terminal only; Ctrl-C leaves
nothing half-written; a closed pipe ends quietly.

Does not: hold any logic that Python callers would miss, print secrets, or import more than click before a command
runs, because `snapstore --help` must answer at once.
"""
