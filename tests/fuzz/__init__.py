"""Fuzz tests of everything that reads untrusted text: a value or the parser's own error, and nothing else."""
