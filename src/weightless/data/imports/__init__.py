"""Tokens of somebody else: what rows a data set holds, which of them validate, and the import that can be continued."""
