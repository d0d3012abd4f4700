"""The rivals of the paper, one file each, behind the interface of `did.task.Task`."""
