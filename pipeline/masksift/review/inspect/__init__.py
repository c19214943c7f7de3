"""What a person looks at without leaving the terminal: `masksift show`, one image as a picture; `masksift top`, the
worst images or regions as a table.

Nothing is imported here: every command of the line reads `config`, and only these two pay for the rest.
"""
