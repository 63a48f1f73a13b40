"""Configurations of a Dovecot, as 2.3 and 2.4 want them, for every layout that the documentation names."""

from __future__ import annotations

from collections.abc import Mapping

from .certificates import Certificate

LAYOUTS = {"maildir++": "", "fs": ":LAYOUT=fs"}
"""How Dovecot lays folders out in a Maildir -> what ``mail_location`` of 2.3 says for it."""

RARE_LAYOUTS = {
    "inbox-below": ":INBOX=~/Maildir/.INBOX",
    "fs-inbox-below": ":LAYOUT=fs:INBOX=~/Maildir/INBOX",
    "dirname": ":LAYOUT=fs:DIRNAME=mAildir",
    "index-elsewhere": ":INDEX=~/index",
    "index-below": ":INDEX=~/Maildir/index",
    "index-in-memory": ":INDEX=MEMORY",
    "utf-8": ":UTF-8",
    "fs-utf-8": ":LAYOUT=fs:UTF-8",
    "volatile": ":VOLATILEDIR={place}/volatile/%u",
    "index": ":LAYOUT=index",
    "index-layout-apart": ":LAYOUT=index:CONTROL=~/control:INDEX=~/index",
    "control": ":CONTROL=~/control",
    "control-below": ":CONTROL=~/Maildir/control",
    "fs-control": ":LAYOUT=fs:CONTROL=~/control",
    "dirname-control": ":LAYOUT=fs:DIRNAME=mAildir:CONTROL=~/control:INDEX=~/index",
    "control-index": ":INBOX=~/Maildir/.INBOX:CONTROL={place}/control/%u:INDEX={place}/index/%u",
}
"""The others that its documentation names."""

OTHER_STORES = {"mdbox": "mdbox:~/mdbox"}
"""Stores of a server that is only written to over its protocol."""

APART = {
    "control": {"control": "{home}/control"},
    "control-below": {"control": "{home}/Maildir/control"},
    "fs-control": {"control": "{home}/control"},
    "index-layout-apart": {"control": "{home}/control", "index": "{home}/index"},
    "dirname-control": {"control": "{home}/control", "index": "{home}/index"},
    "control-index": {
        "control": "{place}/control/{{user}}@{{domain}}",
        "index": "{place}/index/{{user}}@{{domain}}",
    },
    "index-elsewhere": {"index": "{home}/index"},
    "index-below": {"index": "{home}/Maildir/index"},
}
"""What a configuration of mailhaul says of layouts in which not everything lies in the mailbox."""

INBOXES = {
    "inbox-below": ".INBOX",
    "fs-inbox-below": "INBOX",
    "dirname": "INBOX/mAildir",
    "dirname-control": "INBOX/mAildir",
    "control-index": ".INBOX",
}
"""Where the INBOX lies, if not in the mailbox's own directory."""

_2_3 = """\
protocols = imap lmtp pop3
disable_plaintext_auth = no
mail_location = {store}{location}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={place}/home/%d/%n allow_all_users=yes
}}
service imap-login {{
  service_count = 0
}}
"""

_2_4 = """\
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols = imap lmtp pop3
{cleartext}
mail_driver = {driver}
mail_path = {path}
{location}
passdb static {{
  password = {password}
}}
userdb static {{
  allow_all_users = yes
  fields {{
    uid = {uid}
    gid = {gid}
    home = {place}/home/%{{user|domain}}/%{{user|username}}
  }}
}}
service imap-login {{
  restart_request_count = unlimited
}}
"""

_BOTH = """\
listen = {listen}
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/log
instance_name = {name}
{tls}
first_valid_uid = 1
mail_max_userip_connections = 50
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  process_min_avail = 1
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@example.org
}}
"""

_TLS = "ssl = required\nssl_cert = <{cert}\nssl_key = <{key}"
_TLS_OF_2_4 = "ssl = required\nssl_server_cert_file = {cert}\nssl_server_key_file = {key}"

FAR = "127.0.0.2"
"""With a certificate the server is here, too, where it takes nobody's password in the clear."""

_SETTINGS_OF_2_4 = {
    "LAYOUT": "mailbox_list_layout",
    "INBOX": "mail_inbox_path",
    "INDEX": "mail_index_path",
    "CONTROL": "mail_control_path",
    "DIRNAME": "mailbox_directory_name",
    "UTF-8": "mailbox_list_utf8",
    "VOLATILEDIR": "mail_volatile_path",
}
"""What stands in ``mail_location`` of 2.3 -> the setting that it has become."""


def settings(
    version: tuple[int, int], layout: str, facts: Mapping[str, object], certificate: Certificate | None = None
) -> str:
    """The configuration file of a server of this version; ``facts`` are the names in braces above. With a
    certificate it offers TLS."""
    tls, listen = "ssl = no", "127.0.0.1"
    if certificate is not None:
        words = _TLS if version < (2, 4) else _TLS_OF_2_4
        tls, listen = words.format_map(certificate._asdict()), f"{listen}, {FAR}"
    store = OTHER_STORES.get(layout, "maildir:~/Maildir")
    driver, _, path = store.partition(":")
    # With TLS required 2.4 does not start where that is said, too.
    cleartext = "auth_allow_cleartext = yes" if certificate is None else ""
    store_facts = {"store": store, "driver": driver, "path": path}
    facts = {**facts, **store_facts, "tls": tls, "listen": listen, "cleartext": cleartext}
    location = {**LAYOUTS, **RARE_LAYOUTS}.get(layout, "").format_map(facts)
    if version < (2, 4):
        return (_2_3 + _BOTH).format_map({**facts, "location": location})
    return (_2_4 + _BOTH).format_map({**facts, "location": _split(location)})


def _split(location: str) -> str:
    """What follows the path in a ``mail_location``, as settings of 2.4."""
    words = dict(word.partition("=")[::2] for word in location.split(":") if word)
    if "UTF-8" in words:
        words["UTF-8"] = "yes"
    if "DIRNAME" in words:
        # In 2.3 the INBOX lies there as all other folders do.
        words.setdefault("INBOX", "")
    lines = (f"{_SETTINGS_OF_2_4[key]} = {value}" for key, value in words.items())
    return "\n".join(lines).replace("%u", "%{user}")
