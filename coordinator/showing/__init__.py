"""Mail for people to look at, who did not write it: from the bytes of a message to records that can be shown.

Mail is hostile. All that is made here is bounded in size, and in time by the size of the message; it is text
without characters that disturb or deceive, or HTML that was written anew from what is allowed. Nothing here
reads files, archives or the network, and nothing raises on account of what a message holds.
"""
