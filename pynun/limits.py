"""Every limit of the server that is not a setting, with its reason."""

from __future__ import annotations

from typing import Final

RECEIVE_BYTES: Final = 65536
"""Read from a socket at once: many pipelined commands per system call, little memory per connection."""

HANDSHAKE_BYTES_MAX: Final = 16 * 1024
"""The head of a WebSocket handshake. Browsers send about 1 KiB."""

HANDSHAKE_LINES_MAX: Final = 100
"""Lines in it, kept while the connection is open. Browsers and proxies send about 30."""

HTTP_BYTES_PER_SECOND_MIN: Final = 4096
"""A slower HTTP body is given up, after the first seconds. Slow mobile networks are faster."""

HTTP_IDLE_SECONDS: Final = 75.0
"""Idle HTTP connections are closed after this time."""

PROXY_HEADER_SECONDS: Final = 2.0
"""How long the TCP port waits for an optional PROXY header before it greets the client. Proxies send it at once."""

PING_SECONDS: Final = 20.0
"""A WebSocket client that sends nothing for this long gets a ping, which it answers. So every connection has traffic,
and proxies that close idle connections after 30 s keep it open."""

PEERS_CHECKED_AT_ONCE: Final = 200
"""Connections checked in one go before other work continues: about two milliseconds, more if each needs a ping."""

EPHEMERAL_KEYS_MAX: Final = 64
"""Ephemeral keys of one session. They are kept in memory; who says where somebody is and points needs two."""

EPHEMERAL_BYTES_MAX: Final = 64 * 1024
"""The value of an ephemeral key, kept in memory too."""

EPHEMERAL_BYTES_ALL: Final = 256 * 1024 * 1024
"""Memory for the values of all ephemeral keys together, as much as 4,096 of the longest."""

EPHEMERAL_BYTES_SHORT: Final = 1024
"""Values that take no more memory are accepted even when that is used up, so that nobody can hide who is where."""

UNFINISHED_MESSAGES: Final = 4
"""NUN_MAX_UNFINISHED_SIZE must hold this many of the largest messages. A fragmented one may count four times: it is
kept as str, where one character can make all take four bytes (PEP 393)."""

UNFINISHED_AUTHENTICATED_SHARE: Final = 4
"""Clients that have logged in get this many times the memory for unfinished input."""

FLUSH_BYTES: Final = 256 * 1024
"""Replies gathered while a chunk of commands runs, before they are sent early."""

SLICE_COMMANDS: Final = 256
"""Commands of a connection before others get their turn: about a millisecond."""

CONFLATE_BYTES: Final = 1024 * 1024
"""Beyond this, a slow reader's events are conflated per key (docs/protocol.md section 9)."""

STALLED_SECONDS: Final = 5.0
"""A client over the outbox limit that reads nothing for so long is disconnected."""

CLOSE_SECONDS: Final = 2.0
"""Time for the last bytes and the closing handshake when the server ends a connection."""

PASSWORD_CHECKS_MAX: Final = 2
"""Argon2id computations at a time. Each takes a core and the configured memory (19 MiB) for tens of milliseconds."""

HASH_MEMORY_KIB_MAX: Final = 256 * 1024
"""Memory to check a hash. One that needs more (and more than the server's own) is refused, and a stored one matches
nothing. RFC 9106 advises 64 MiB where memory is scarce, libsodium's "moderate" is 256 MiB."""

HASH_PASSES_MAX: Final = 16
"""The same for passes over that memory."""

HASH_LANES_MAX: Final = 16
"""The same for threads."""

HASH_WORK_KIB_MAX: Final = 1024 * 1024
"""The same for memory times passes: about half a second."""

VERIFIED_SECRETS_MAX: Final = 10_000
"""Verified secrets remembered, about 100 bytes each. The least recently used are forgotten first."""

LOGIN_RECOVERY_SECONDS: Final = 60.0
"""One failed login is forgotten each time this passes, which allows fewer than 20 tries a minute."""

LOGIN_TRIES_WAITING_MAX: Final = 1000
"""Logins that wait because of their address's failures, about 1 KiB each. More are refused."""

LOGIN_LOOK_SECONDS: Final = 3.0
"""How often waiting logins are checked for closed connections, which would pile up otherwise."""

LOGIN_BUCKETS_MAX: Final = 10_000
"""Addresses, and accounts, whose failures are remembered, about 300 bytes each. The least recently used go first."""

AUDIT_LINES_WAITING_MAX: Final = 10_000
"""Audit lines that wait for a stuck disk, about 300 bytes each. More are only counted."""

AUDIT_REPEAT_SECONDS: Final = 60.0
"""Repetitions within this time become one audit line with a count."""

AUDIT_FAILURES_MAX: Final = 20
"""Failures of one kind and address that get their own line in that time."""

AUDIT_GROUPS_MAX: Final = 100
"""Kinds and addresses of failures counted separately in that time, so nobody can fill the audit files within hours."""

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
"""File descriptors not for clients: data, listeners, clients being refused."""

ADMINISTRATORS_MAX: Final = 100
"""Named administrators, so that a list of them is short."""

LOADS_MAX: Final = 16
"""Imports and copies of databases at a time."""

LOAD_FREE_BYTES_MIN: Final = 64 * 1024 * 1024
"""With less free space on the disk, imports and copies of databases are given up, so that others can store changes."""

LOCAL_CONNECTIONS_MAX: Final = 16
"""Connections to the Unix socket, apart from those of other clients: an administrator gets in when the server is full.
They are among DESCRIPTORS_RESERVED."""

REFUSALS_MAX: Final = 16
"""Clients told at the same time why they are refused. More are disconnected without a reply."""

START_EXTENDED_SECONDS: Final = 60
"""How much more time systemd gives a start that is still working, counted from its last sign of life."""

START_STEP_SECONDS_MAX: Final = 3600
"""A start whose status stays the same for so long hangs: systemd gives it no more time."""

NOTIFY_SECONDS: Final = 0.5
"""How long a change of state waits for room in systemd's queue."""

STOP_SECONDS: Final = 2.5
"""Time to answer and store what has arrived at a stop, and to tell clients. Service managers allow 10 s."""

HAND_OVER_SECONDS: Final = 0.3
"""The same for a node of a cluster: nobody is served until another node goes on."""

HOLD_SECONDS: Final = 10.0
"""How long clients of a cluster wait for a node that owns the data."""

DEAD_READERS_SECONDS: Final = 5.0
"""How often the server looks for killed readers in other processes (backups), whose pages would stay in use."""

DATA_LOOK_SECONDS: Final = 2.0
"""How often the server checks that the data files are still the ones it has open. Changes made after a file was
removed may be lost."""

BACKUP_RETRY_SECONDS: Final = 300.0
"""Time to the next try after a failed scheduled backup, unless the interval is shorter."""

BACKUP_END_SECONDS: Final = 2.0
"""Time for an abandoned backup to end. Its disk may not respond."""

DISK_FREE_BYTES_MIN: Final = 1024 * 1024
"""A disk with less free space counts as full: the next large commit may fail."""

DISK_ANSWER_SECONDS: Final = 3.0
"""A disk that does not report its free space within this time counts as not responding."""

COMMIT_HANGS_SECONDS: Final = 10.0
"""If a commit takes longer, the server reports that it can't store changes. It still waits for the commit."""

LISTING_MESSAGES: Final = 2
"""The size limit of a key list, in largest messages: enough for a million keys of 30 bytes."""

LISTINGS_LARGE_MAX: Final = 2
"""Listings over 64 KiB that run at the same time. Each takes at most about 150 MB; further ones wait."""

LISTINGS_SMALL_BYTES: Final = 32 * 1024 * 1024
"""Memory for all smaller listings together. When it is used up, they wait too."""

WATCHES_BYTES_MAX: Final = 512 * 1024 * 1024
"""Memory for all watches together. Each takes about 500 bytes plus its key, so about a million fit."""

WATCHES_BYTES_OWN: Final = 64 * 1024
"""What each session may use even when that memory is used up: about a hundred watches."""

CHANGE_RATES_MAX: Final = 10_000
"""Users and networks whose changes per second are counted, about 300 bytes each. The least recently used are
forgotten first."""

MONITORS_MAX: Final = 32
"""Connections to the address in NUN_METRICS, which don't count as clients. One more replaces the one that has kept the
server waiting longest."""

METRICS_DATABASES_MAX: Final = 50
"""Databases named in the metrics. A server may have thousands, and monitors keep each series for months."""

SLEEPING_CHARACTERS_READ_MAX: Final = 1024 * 1024
"""How much of the watched values the server reads when watches lose their permission; all of them could take seconds.
Each key counts as at least SLEEPING_ENTRY_CHARACTERS. If its value was not read, a watch that wakes gets the newest
value after any change, even the same value."""

SLEEPING_ENTRY_CHARACTERS: Final = 1024
"""What each key counts at least: reading a short value takes time too."""

WAKING_CHARACTERS_MAX: Final = 32 * 1024 * 1024
"""How much the server sends when sleeping watches wake: as much as one batch of changes. A client that missed more is
disconnected; it can reconnect and read what it needs."""

CONSOLE_LOGINS_MAX: Final = 64
"""Logins to the web console at a time, about a kilobyte each. One more ends the one unused for longest of
the user who has most."""

CONSOLE_IDLE_SECONDS: Final = 1800.0
"""A login to the console ends when nobody has used its page for so long: people leave their desks."""

CONSOLE_LOGIN_SECONDS_MAX: Final = 12 * 3600.0
"""A login to the console ends after so long, however much it is used: a working day."""

CONSOLE_SAMPLE_SECONDS: Final = 5.0
"""How often the figures of the console's overview are noted. A person sees changes of some seconds."""

CONSOLE_SAMPLES_MAX: Final = 720
"""An hour of them, which takes 70 KB."""

CONSOLE_CHANGES_MAX: Final = 500
"""Changes of one write to disk that a page of the console is told of; of the others it gets the number. A person reads
none of them, and a page draws so many at once."""

CONSOLE_EPHEMERAL_SECONDS: Final = 0.2
"""Between two messages to a page about ephemeral keys, such as pointers, which change with every frame."""

CONSOLE_VALUE_CHARACTERS_MAX: Final = 2000
"""Characters of a value in these; the page asks for the whole value when it is opened."""

CONSOLE_AUDIT_BYTES: Final = 1024 * 1024
"""The end of the audit trail that the console searches: some 4,000 lines."""

CONSOLE_AUDIT_LINES_MAX: Final = 500
"""Lines that it shows at once."""
