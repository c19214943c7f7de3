"""Entry point of `python -m masksift`."""

from masksift.cli.main import entry

if __name__ == "__main__":
    entry()
