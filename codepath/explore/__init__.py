"""`codepath explore`: a local page on which one looks at a trained network's paths."""
