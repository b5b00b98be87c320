"""The one exception that users are meant to see."""


class StudyError(Exception):
    """Something the user can mend, said in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and leaves with exit code 2; a traceback means a bug of ours.
    """


class Gone(StudyError):
    """A folder or file of a run that vanished while the run was at work: nothing that the run itself did wrong."""
