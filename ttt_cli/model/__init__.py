"""The two-headed model: one encoder f, a main head h and a reconstruction head g."""
