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
"""How long the TCP port waits for an optional PROXY header before it greets the client. Proxies send it at once."""

PING_SECONDS: Final = 20.0
"""A WebSocket client that sends nothing for this long gets a ping, which it answers. So every connection has traffic,
and proxies that close idle connections after 30 s keep it open."""

PEERS_CHECKED_AT_ONCE: Final = 200
"""Connections checked in one go before other work continues: about two milliseconds, more if each needs a ping."""

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
"""Log lines kept in memory while nothing reads standard output. Further lines are dropped and counted."""

LOG_BYTES_WAITING_MAX: Final = 4 * 1024 * 1024
"""The same limit in bytes. A single line may exceed it."""

LOG_GAP_BYTES: Final = 200
"""Space reserved for the line that says how many lines were dropped."""

LOG_STALLED_SECONDS: Final = 1.0
"""How long a stopping server waits for its log to be read when nothing is being read."""

LOG_END_SECONDS: Final = 3.0
"""How long a stopping server waits for its log to be read in total."""

AUDIT_END_SECONDS: Final = 2.0
"""How long a stopping server waits for the last lines of the audit trail. Its disk may hang."""

DESCRIPTORS_RESERVED: Final = 64
"""Of the files that the process may open, those not for clients: the data, the listeners, clients being refused."""

REFUSALS_MAX: Final = 16
"""Clients at once that are told why they are refused; further ones are disconnected without a word."""

STOP_SECONDS: Final = 2.5
"""For a clean stop: what arrived is finished and committed, clients are told. A service manager allows ten."""

DEAD_READERS_SECONDS: Final = 5.0
"""So often a look whether a reader of the data in another process (a backup) was killed: its pages stay in use else."""

DATA_LOOK_SECONDS: Final = 2.0
"""How often the server checks that the data files are still the ones it has open. Changes made after a file was
removed may be lost."""

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
"""How many times longer than the largest message a list of keys may be: enough for a million keys of 30 bytes."""

LISTINGS_LARGE_MAX: Final = 2
"""Listings over 64 KiB that run at the same time. Each takes at most about 150 MB; further ones wait."""

LISTINGS_SMALL_BYTES: Final = 32 * 1024 * 1024
"""Memory for all smaller listings together. When it is used up, they wait too."""

WATCHES_BYTES_MAX: Final = 512 * 1024 * 1024
"""Memory for all watches together. Each takes about 500 bytes plus its key, so about a million fit."""

WATCHES_BYTES_OWN: Final = 64 * 1024
"""What each session may use even when that memory is used up: about a hundred watches."""

PACES_MAX: Final = 10_000
"""Users and networks whose changes per second are counted, about 300 bytes each. The least recently used are
forgotten first."""

MONITORS_MAX: Final = 32
"""Connections at once to an address that NUN_METRICS names; they don't count as clients. One more takes the place of
that whose client is waited for longest."""

METRICS_DATABASES_MAX: Final = 50
"""Databases that the metrics name: a server may have thousands, and a monitor keeps every series for months."""

SLEEPING_CHARACTERS_READ_MAX: Final = 1024 * 1024
"""How much of the watched values the server reads when a change of permissions puts watches to sleep; reading all could
take seconds. Each key counts as at least SLEEPING_ENTRY_CHARACTERS. A watch whose value was not read is sent the newest
value when it wakes after any change, even if the value is the same again."""

SLEEPING_ENTRY_CHARACTERS: Final = 1024
"""The least that a key counts towards SLEEPING_CHARACTERS_READ_MAX: reading a short value takes time too."""

WAKING_CHARACTERS_MAX: Final = 32 * 1024 * 1024
"""How much the server sends at once when a permission returns and sleeping watches wake: as much as one batch of
changes. A client that missed more is disconnected, and can reconnect and read what it needs."""
