"""Champion against challenger: the rule that decides, and the page that shows why."""
