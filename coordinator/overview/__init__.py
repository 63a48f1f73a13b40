"""What somebody sees who looks at a staging area over many nights: records, made from the catalog and what
lies beside it, and plots of them. Nothing here knows of pages; nothing is loaded as a whole whose length goes
with the mailboxes or the nights."""
