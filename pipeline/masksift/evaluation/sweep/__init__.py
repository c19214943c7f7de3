"""`masksift sweep`: many settings of known errors and scores, measured from evidence that is kept once.

Nothing is imported here: every command of the line reads `config`, and only this one pays for the rest (`line`).
"""
