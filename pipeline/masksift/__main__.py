"""`python -m masksift`."""

from masksift.cli import entry

if __name__ == "__main__":
    entry()
