"""Adapters: the archive behind the persistence interfaces that agent frameworks define.

Each module offers one system's own interface, so that a program changes one line and gets deduplication, history, forks
and restore elsewhere:

| module | interface |
|---|---|
| `genkit_flow` | `FlowStateStore` of Genkit's durable flows |
| `flowkit` | `StorageAdapter` of FlowKit |
| `cjm` | `WorkflowStateStore` of cjm-fasthtml-interactions, and the session API of cjm-workflow-state |
| `genkit` | `SessionStore` of Genkit's agents, Python and JavaScript shapes |
| `agentos` | `ICheckpointStore` of AgentOS |
| `langgraph` | `BaseCheckpointSaver` of LangGraph |

Promises: what a system's contract promises, at every interleaving of writers and after a crash between any two storage
calls; values are serialised when they are saved and are the reader's own when they are read. Ids, runs and graphs in the
archive begin with the system's name (`agentos:run-7`), so several systems share one archive without meeting.
Does not: import a framework before its own adapter is used, or change what a framework stores.
"""
