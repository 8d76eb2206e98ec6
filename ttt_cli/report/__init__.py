"""`tttv report`: one HTML file made from finished runs and evaluations.

Reads their folders, makes plots and pictures, and puts them on the page.
"""
