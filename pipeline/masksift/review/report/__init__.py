"""`masksift report`: page for reviewing a run, in one directory that opens from disk or any static web server."""
