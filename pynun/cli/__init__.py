"""The nun-db command.

`main.py` is its entry and `app.py` declares the commands and their options; what a command does is in a module of
`commands/`, imported only when that command runs, so that `nun-db exec` starts fast (no trio, lmdb, argon2 or
prompt_toolkit). `remote/` is what asks a server, `offline/` what works on a data folder, `output/` what prints.
"""
