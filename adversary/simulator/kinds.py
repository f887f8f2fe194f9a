"""What can happen in a run. What happens at one time happens in this order."""

FAULT, CHECK, LINK, DELIVER, WORK, TIMER, TICK, ACT, WAKE = range(9)
