"""Variables of the original that have no effect on a single node: accepted, so that an existing set-up starts.

Values that promise what is not done are refused: storage in S3 here, other servers in
pynun/server/startup/other_servers.py.
"""

from __future__ import annotations

from typing import Final

from pynun import setting_values as values
from pynun.setting import Setting

ORIGINAL_SETTINGS: Final = (
    Setting(
        name="NUN_REPLICATE_ADDR", default="", parse=values.comma_separated, field="replicate_addresses",
        option="-r/--replicate-address", effect=False, help="The members of a cluster, separated by"
        " commas. Here nodes find each other through etcd (NUN_ETCD); without that, a list that names another server "
        "is refused.",
    ),
    Setting(
        name="NUN_ELECTION_TIMEOUT", default="1000", parse=values.text, unit="ms", effect=False,
        help="How long an election in a cluster waits for answers.",
    ),
    Setting(
        name="NUN_MAX_OP_LOG_SIZE", default="", parse=values.text, unit="bytes", effect=False,
        help="The size of the original's operation log; there is none here.",
    ),
    Setting(
        name="NUN_DECLUTTER_INTERVAL", default="300", parse=values.text, unit="s", effect=False,
        help="How often the original writes to disk; here every change is written at once.",
    ),
    Setting(
        name="NUN_STORAGE_STRATEGY", default="disk", parse=values.storage_strategy, effect=False,
        help="Where the original keeps its data, disk or s3. Here always on the disk, in NUN_DBS_DIR; s3 is refused.",
    ),
    Setting(
        name="NUN_STORAGE_READ_STRATEGY", default="disk", parse=values.storage_strategy, effect=False,
        help="The same, for reading alone.",
    ),
    Setting(
        name="NUN_STORAGE_WRITE_STRATEGY", default="disk", parse=values.storage_strategy, effect=False,
        help="The same, for writing alone.",
    ),
    Setting(name="NUN_S3_KEY_ID", default="", parse=values.text, effect=False, help="Storage in S3: the key's name."),
    Setting(
        name="NUN_S3_SECRET_KEY", default="", parse=values.text, effect=False, secret=True,
        help="Storage in S3: the key.",
    ),
    Setting(name="NUN_S3_BUCKET", default="", parse=values.text, effect=False, help="Storage in S3: the bucket."),
    Setting(
        name="NUN_S3_PREFIX", default="", parse=values.text, effect=False, help="Storage in S3: the objects' prefix.",
    ),
    Setting(
        name="NUN_S3_API_URL", default="", parse=values.text, effect=False,
        help="Storage in S3: the server's address.",
    ),
    Setting(
        name="NUN_S3_READ_PREFIX", default="", parse=values.text, effect=False,
        help="Storage in S3: the prefix of objects that are read.",
    ),
    Setting(
        name="NUN_S3_MAX_INFLIGHT_REQUESTS", default="10", parse=values.text, effect=False,
        help="Storage in S3: requests at once.",
    ),
    Setting(
        name="NUN_S3_NUMBER_OF_PARTITIONS", default="10", parse=values.text, effect=False,
        help="Storage in S3: the parts of a database.",
    ),
    Setting(name="NUN_S3_RETRY", default="3", parse=values.text, effect=False, help="Storage in S3: tries."),
)  # fmt: skip
