"""Mail servers that mail is delivered to over LMTP, as if it had come now.

``target`` opens a mailbox and hands over its messages, ``conversation`` speaks with the server, ``delivered``
has it in writing what was handed over: the server can't be asked.
"""
