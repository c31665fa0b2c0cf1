"""Speed and accuracy against baselines: one script a question, run by `codepath bench NAME`."""
