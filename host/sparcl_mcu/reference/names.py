"""The methods' names: a base, alone (dense) or with a mask rule in front."""

BASES = ("naive", "joint", "er", "der", "der++", "ewc", "lwf", "agem")
MASKS = ("sparcl", "static", "snip", "rigl")
METHODS = BASES + tuple(f"{mask}-{base}" for mask in MASKS for base in BASES)
