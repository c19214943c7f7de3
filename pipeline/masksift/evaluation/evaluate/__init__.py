"""`masksift evaluate`: the scores of a run against what is known to be wrong.

Nothing is imported here: every command of the line reads `config`, and only this one pays for the rest (`line`).
"""
