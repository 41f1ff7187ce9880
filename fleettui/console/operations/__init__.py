"""What an operator does to units and machines: the verbs, what each would touch, and carrying it out."""
