"""Two models measured against each other: what is asked, what is found, the data for it, and runs to report on."""
