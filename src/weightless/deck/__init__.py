"""The deck: eight challenges for coding models, and a grader that is itself graded.  Floor 9."""
