"""What the values of slices mean: color, padding, quantities, diffusion, spacing, times."""
