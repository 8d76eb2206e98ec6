"""`tttv train`: joint training of f, g and h on labeled stills (paper, section 4.1), then look-ahead training of g.

Holds recipes, training data, objectives and losses.
"""
