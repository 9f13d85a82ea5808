"""The nun-db command.

`main.py` is its entry; `app.py` has the options before the command and a table of where each command is. A command, its
own options and what it does, is in a module of `commands/`, imported only when it is typed, so that `nun-db exec`
starts fast (no trio, lmdb, argon2 or prompt_toolkit). `remote/` is what asks a server, `offline/` what works on a data
folder, `output/` what prints.
"""
