"""`masksift show` and `masksift top`: view one image or the worst images in the terminal."""
