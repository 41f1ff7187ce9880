"""Unit names and unit files: what they say, what systemd and the fleet allow, what is wrong with one. Pure."""
