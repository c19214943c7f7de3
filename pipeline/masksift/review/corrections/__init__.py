"""`masksift export corrections`: what reviewers accepted of a run, as labels to run on.

Nothing is imported here: every command of the line reads `config`, and only this one pays for the rest (`line`).
"""
