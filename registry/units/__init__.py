"""Unit names and unit files: what they say, what systemd and the fleet allow in them, and what is wrong with one."""
