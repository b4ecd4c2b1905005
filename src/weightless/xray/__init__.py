"""See what one token costs: a record of every byte read and written for it, and a page that draws it.  Floor 9."""
