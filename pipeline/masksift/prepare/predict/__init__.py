"""`masksift predict`: cross-validated predictions for a source of images and labels."""
