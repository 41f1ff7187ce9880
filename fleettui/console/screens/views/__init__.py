"""The views: Units, Machines, Pending, Events. Each folds readings into its table and knows what rows are about.

A view that is not on the screen folds nothing; it catches up when it is opened.
"""
