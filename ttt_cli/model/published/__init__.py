"""Other people's models: where they come from, how they are split into f and h, and what prepares them."""
