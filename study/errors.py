"""The one exception that users are meant to see, and where other programs say theirs."""


class StudyError(Exception):
    """Something the user can mend, said in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and leaves with exit code 2; a traceback means a bug of ours.
    """


class Gone(StudyError):
    """A folder or file of a run that vanished while the run was at work: nothing that the run itself did wrong."""


def last_line(said: str) -> str:
    """The last line of what a process said, in which it says why it left."""
    return said.strip().splitlines()[-1] if said.strip() else "no message"
