"""`masksift export masks`: write labels as files in the form of the label files that a source was made of."""
