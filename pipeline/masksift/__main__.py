"""`python -m masksift`."""

from masksift.cli.parser import entry

if __name__ == "__main__":
    entry()
