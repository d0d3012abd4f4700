"""Beyond the paper: what its limits suggest, one file each, behind the interface of `did.task.Task`."""
