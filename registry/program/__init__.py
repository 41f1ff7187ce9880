"""What a program needs around its work: configuration, log, notifications to systemd, garbage collection."""
