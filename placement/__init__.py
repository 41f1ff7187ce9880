"""Which machine runs each unit, and why not the others: the rules, and what follows from them. Pure."""
