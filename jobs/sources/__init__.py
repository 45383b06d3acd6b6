"""One file a shop or data set: its files become raw tables."""
