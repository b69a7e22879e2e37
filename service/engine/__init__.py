"""Opens, holds and closes collections; bulk jobs, snapshots, restores, copies."""
