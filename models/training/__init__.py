"""How models are trained: one loop, one way to track."""
