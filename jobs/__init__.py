"""Tables: what is read and what is written, on the way from a shop's files to its features."""
