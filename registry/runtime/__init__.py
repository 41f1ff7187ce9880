"""What any program is run by: with an event loop or without one, with a log or without. Knows no registry."""
