"""Seeds that draw composed lies, and short runs that hold every invariant against them."""
