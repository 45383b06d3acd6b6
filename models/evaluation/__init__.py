"""How good a model is: metrics, intervals, gates, reports."""
