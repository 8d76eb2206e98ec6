"""Published segmentation models in the layout of transformers."""
