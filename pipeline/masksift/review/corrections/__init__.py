"""`masksift export corrections`: write labels with the regions that reviewers accepted."""
