"""Every bound of the server that is not a setting, with its reason."""

from __future__ import annotations

from typing import Final

RECEIVE_BYTES: Final = 65536
"""Read from a socket at once: many pipelined commands for one system call, and still little memory a connection."""

HANDSHAKE_BYTES_MAX: Final = 16 * 1024
"""The head of a WebSocket handshake; browsers send about one KiB."""

HANDSHAKE_LINES_MAX: Final = 100
"""Lines of it; browsers and proxies send about thirty. Each is kept for as long as the connection is open."""

HTTP_BYTES_PER_SECOND_MIN: Final = 4096
"""A body that arrives more slowly than this (after the first seconds) is given up: a slow mobile network is faster."""

HTTP_IDLE_SECONDS: Final = 75.0
"""An HTTP connection without a request is closed; the next request opens another."""

PROXY_HEADER_SECONDS: Final = 2.0
"""On the TCP port, which greets its clients, so long a PROXY header is waited for where there need not be one; proxies
send it at once."""

PING_SECONDS: Final = 20.0
"""A WebSocket client that is silent for so long is pinged, and its pong is an answer: no connection is without traffic
for longer. Many proxies end one after 30 s."""

PEERS_CHECKED_AT_ONCE: Final = 200
"""Connections looked at before others have their turn: about two milliseconds, and more with a ping for each."""

UNFINISHED_MESSAGES: Final = 4
"""So many of the largest messages may at least be unfinished at once. One in fragments may count as so many: it is kept
as str, in which one character may make all others take four bytes (PEP 393)."""

UNFINISHED_AUTHENTICATED_SHARE: Final = 4
"""Clients that have logged in may make the server hold so many times as much unfinished input as all others."""

FLUSH_BYTES: Final = 256 * 1024
"""Replies gathered while one chunk of commands runs, before they are sent ahead of its end."""

SLICE_COMMANDS: Final = 256
"""Commands of one connection that run before others may: about a millisecond."""

CONFLATE_BYTES: Final = 1024 * 1024
"""Waiting for a slow reader beyond this, its watch events are conflated per key (docs/protocol.md section 9)."""

STALLED_SECONDS: Final = 5.0
"""A client whose replies exceed the outbox limit and which reads nothing for so long is disconnected."""

CLOSE_SECONDS: Final = 2.0
"""For the last bytes and the closing handshake of a connection that the server ends."""

PASSWORD_CHECKS_MAX: Final = 2
"""Argon2id computations at once: each takes a core and the configured memory (19 MiB) for tens of milliseconds."""

HASH_MEMORY_KIB_MAX: Final = 256 * 1024
"""A hash that takes more memory to check (and more than the server's own take) is not accepted, and nothing matches a
stored one: RFC 9106 advises 64 MiB where memory is scarce, libsodium takes 256 MiB for what it calls moderate."""

HASH_PASSES_MAX: Final = 16
"""Likewise, of the passes over that memory."""

HASH_LANES_MAX: Final = 16
"""Likewise, of the threads."""

HASH_WORK_KIB_MAX: Final = 1024 * 1024
"""Likewise, of memory times passes: about half a second."""

VERIFIED_SECRETS_MAX: Final = 10_000
"""Verified secrets remembered, each some 100 bytes; the one longest unused is forgotten first."""

LOGIN_RECOVERY_SECONDS: Final = 60.0
"""After so long, one wrong password or token less counts for the delay: fewer than 20 tries a minute, and forgotten."""

LOGIN_TRIES_WAITING_MAX: Final = 1000
"""Tries to log in, each about a KiB, that wait because of the failures of their address; further ones are refused."""

LOGIN_LOOK_SECONDS: Final = 3.0
"""How often it is looked whether who waits is still there: else connections that were closed would gather."""

LOGIN_BUCKETS_MAX: Final = 10_000
"""Addresses, and accounts, whose failures are remembered, each some 300 bytes; the ones longest unused go first."""

AUDIT_LINES_WAITING_MAX: Final = 10_000
"""Lines of the audit trail, each some 300 bytes, that wait for a disk that hangs; further ones are only counted."""

AUDIT_REPEAT_SECONDS: Final = 60.0
"""What repeats within this time is one line of the audit trail, with how often."""

AUDIT_FAILURES_MAX: Final = 20
"""Failures of one kind and address that get a line each in that time."""

AUDIT_GROUPS_MAX: Final = 100
"""Kinds and addresses of failures counted apart in that time: nobody can fill the kept files within hours."""

LOG_LINES_WAITING_MAX: Final = 10_000
"""Lines of the log that wait for whoever reads it; further ones are dropped and counted."""

LOG_BYTES_WAITING_MAX: Final = 4 * 1024 * 1024
"""Likewise, in bytes; one line alone may be longer."""

LOG_GAP_BYTES: Final = 200
"""More than a line takes that says how many are missing."""

LOG_STALLED_SECONDS: Final = 1.0
"""A stop waits for whoever reads the log, and no longer than this if nothing is read."""

LOG_END_SECONDS: Final = 3.0
"""Likewise, in all."""

AUDIT_END_SECONDS: Final = 2.0
"""A stop waits so long for the last lines of the audit trail: its disk may hang."""

DESCRIPTORS_RESERVED: Final = 64
"""Of the files that the process may open, those not for clients: the data, the listeners, clients being refused."""

REFUSALS_MAX: Final = 16
"""Clients at once that are told why they are refused; further ones are disconnected without a word."""

STOP_SECONDS: Final = 2.5
"""For a clean stop: what arrived is finished and committed, clients are told. A service manager allows ten."""

DEAD_READERS_SECONDS: Final = 5.0
"""So often a look whether a reader of the data in another process (a backup) was killed: its pages stay in use else."""

DATA_LOOK_SECONDS: Final = 2.0
"""So often a look whether the data is still where it was opened: what is changed after it was removed may be lost."""

BACKUP_RETRY_SECONDS: Final = 300.0
"""After a failed backup on a schedule, the next try; sooner where the interval is shorter."""

BACKUP_END_SECONDS: Final = 2.0
"""For what a backup that is given up still has to do; it may be on a disk that does not answer any more."""

DISK_FREE_BYTES_MIN: Final = 1024 * 1024
"""A disk with less room than this counts as full: the next commit of many changes may fail."""

DISK_ANSWER_SECONDS: Final = 3.0
"""A question about the disk (how much is free) that is not answered by then means that it does not answer."""

COMMIT_HANGS_SECONDS: Final = 10.0
"""A server whose commit takes longer counts as one that can't store changes; the commit is waited for all the same."""

LISTING_MESSAGES: Final = 2
"""An answer that lists keys may be so many times as long as the largest message: a million keys of thirty bytes."""

LISTINGS_LARGE_MAX: Final = 2
"""Listings at once that gather more than 64 KiB, each some 150 MB at most; further ones wait for their turn."""

LISTINGS_SMALL_BYTES: Final = 32 * 1024 * 1024
"""All smaller listings together; beyond it they wait for a turn as well."""

WATCHES_BYTES_MAX: Final = 512 * 1024 * 1024
"""Memory of all watches together, some 500 bytes each and the key: about a million."""

WATCHES_BYTES_OWN: Final = 64 * 1024
"""Of it, what a session gets even if others have taken all: about a hundred watches."""

PACES_MAX: Final = 10_000
"""Users and networks whose changes a second are counted, each some 300 bytes; the ones longest unused go first."""

MONITORS_MAX: Final = 32
"""Connections at once to an address that NUN_METRICS names; they don't count as clients. One more takes the place of
that whose client is waited for longest."""

METRICS_DATABASES_MAX: Final = 50
"""Databases that the metrics name: a server may have thousands, and a monitor keeps every series for months."""

SLEEPING_CHARACTERS_READ_MAX: Final = 1024 * 1024
"""Of the values of watched keys, when a change of permissions lets watches sleep; each key counts as
SLEEPING_ENTRY_CHARACTERS at least. A watch whose key is not looked at is sent the newest entry after any change, even
one back to what it was. Reading them all could take seconds."""

SLEEPING_ENTRY_CHARACTERS: Final = 1024
"""What each key counts for at least, in SLEEPING_CHARACTERS_READ_MAX: reading a short value takes its time too."""

WAKING_CHARACTERS_MAX: Final = 32 * 1024 * 1024
"""Of what sleeping watches missed, told at once when a permission is back; whoever is to be told more is disconnected.
As much as a batch of changes, for all who hear of it hold the same texts."""
