"""Copy the labels of a data set and put known errors into the copy (`masksift simulate`)."""
