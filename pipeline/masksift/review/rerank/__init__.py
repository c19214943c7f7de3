"""`masksift rerank`: learn from the decisions so far and reorder the regions that remain."""
