"""Who may do what on the page and over the API, and what they did: accounts, sessions, the audit log."""
