"""Answering: the API, its edge, its page, receipts, feedback."""
