"""Files of annotation tools, read as shapes: one module per format."""
