"""Rules of senders, one file each (``declared.rules`` says what they may say)."""
