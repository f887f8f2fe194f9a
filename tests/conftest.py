"""What all tests share."""

from hypothesis import settings

# Machines are shared and slow at times: how long an example takes says nothing about the code.
settings.register_profile("quorate", deadline=None)
settings.load_profile("quorate")
