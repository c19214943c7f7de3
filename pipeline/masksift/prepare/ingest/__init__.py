"""`masksift ingest`: convert label and prediction files into a source."""
