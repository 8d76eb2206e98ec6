"""`tttv report`: one HTML file out of finished runs and evaluations."""
