"""The whole system in one process and in virtual time: real replicas, ledgers, states and clients; the rest is dice.

A run is determined by its Scenario alone. `run.simulate(scenario)` says what came of it.
"""
