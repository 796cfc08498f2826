"""History: states as trees, snapshots as registers, and the walks along their parents.

Purpose: build a state's tree from the one before (`build`), read it whole or in part (`tree`), compare two
(`diff`), commit a snapshot (`commit`) and walk a run or a graph (`walks`).

Promises: an acknowledged save is never lost; a tree depends only on the state, not on how it came about;
what is read has been verified.

Does not: know URLs, frameworks or users' handles.
"""
