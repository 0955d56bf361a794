"""Who is there (user, session, tab), and what is pushed to them."""
