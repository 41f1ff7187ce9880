"""The terminal that the console runs on: drawing on it, lending it to another program, noticing that it is gone."""
