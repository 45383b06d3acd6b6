"""The house on one machine: start, stop, judge, run the whole way. Knows command lines and addresses only."""
