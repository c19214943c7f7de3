"""One command from a folder of images and masks to the report."""
