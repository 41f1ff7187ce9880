"""Whole screens: the main one and what opens over it. They bind keys, views and actions together."""
