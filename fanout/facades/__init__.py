"""The calls of fanout for programs without Trio: asyncio's, and plain ones. Trio runs in a thread behind them."""
