"""``store.questions`` and ``store.settings``: what a user is asked, and the answers.

Both are the same room over different tables, which ``base`` has.
"""
