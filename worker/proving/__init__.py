"""A mailbox that was restored for the proof, beside what its backup says of it: message by message, in its
files and as a mail server shows them."""
