"""`masksift compare`: compare two completed runs."""
