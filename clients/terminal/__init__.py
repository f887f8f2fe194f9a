"""The full-screen chat, `quorate chat`.

What is shown is values, without clock, terminal or network: `model`, `roomlog`, `lines`, `arguments`, `completion`,
`marks` and `markup`. `session` keeps the model in step with the group, `screen` draws it, and `commands` and `keys`
are the tables of what a person can do.
"""
