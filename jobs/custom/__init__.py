"""Team code, run where it can do no harm.

In: a plan with a team's own file, and images. Out: weights and probabilities as plain bytes. The
path of a run, a line a file:

    parent          in the slot, or where scores are made: feeds a sandbox, judges its answers
    session         one conversation with a sandbox, and every way in which it can end
    answers         what comes out of a sandbox, checked
    sandbox         the sandbox itself, started and ended
    view            what it shows: bubblewrap's arguments
    privileges      the user that it runs as
    seccomp         the system calls that it may not make
    watch           what its processes may use together, and the end of one that uses too much
    usage           what they do use
    frames          the bytes that cross between the two sides
    child           inside: trains or predicts, and says so in frames
    team_code       inside: the file, imported and checked
    error_messages  inside: an error's words for the team

Only these last three ever run team code, and only in a sandbox.
"""
