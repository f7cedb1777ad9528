"""Series of images as arrays with geometry."""
