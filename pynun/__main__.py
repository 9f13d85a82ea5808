"""`python -m pynun ARGS` is the `nun-db` command."""

from pynun.cli.main import main

if __name__ == "__main__":
    main()
