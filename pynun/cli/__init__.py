"""The nun-db command.

`main.py` is the entry; `app.py` has the options before the command and the table of commands. Each module of
`commands/` has a command's options and body, and is imported only when needed, so that `nun-db exec` starts fast (no
trio, lmdb, argon2 or prompt_toolkit). `remote/` asks a server, `offline/` works on a data folder, `output/` prints.
"""
