"""Files of a data set: folders, zip archives, tar archives."""
