"""`masksift compare`: two complete runs, and what got better from one to the other.

Nothing is imported here: every command of the line reads `config`, and only this one pays for the rest (`line`).
"""
