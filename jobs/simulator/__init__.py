"""The generated shop and its visitors, with a known truth."""
