"""`tttv report`: one HTML file made from finished runs and evaluations.

Reading their folders, plots, pictures, and the page itself.
"""
