"""The web chats, spoken to as their own pages speak to them. Nobody offers these interfaces."""
