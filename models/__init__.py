"""Learning: what is trained, judged, promoted, found and served."""
