"""A network between real replicas that does what it is told: delays, cuts, holds back, narrows and spoils."""
