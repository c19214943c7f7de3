"""Command line: arguments in, text and exit codes out."""
