"""What a server removes by itself: read from its configuration, applied to mail that is to come."""

from __future__ import annotations

from mailhaul.proto.target_facts import ExpiryRule, ExpiryToll
from mailhaul.worker.looking.expiry import Tolls, rules_of

DAY = 86_400
NOW = 1_790_000_000.0

OLDER = """\
# 2.3.19.1: /etc/dovecot/dovecot.conf
mail_location = maildir:~/Maildir
namespace inbox {
  inbox = yes
  mailbox Trash {
    autoexpunge = 30 days
    special_use = \\Trash
  }
  mailbox "Old.Junk mail" {
    autoexpunge = 1 weeks
    autoexpunge_max_mails = 1000
  }
  mailbox Drafts {
    special_use = \\Drafts
  }
  prefix =
  separator = .
}
namespace other {
  mailbox Bin/* {
    autoexpunge = 36 hours
  }
}
protocol imap {
  mail_max_userip_connections = 20
}
"""

NEWER = """\
dovecot_config_version = 2.4.0
namespace inbox {
  inbox = yes
  mailbox Trash {
    mailbox_autoexpunge = 30d
    mailbox_autoexpunge_max_mails = 5
  }
  mailbox Sent {
    mailbox_autoexpunge = 0
  }
}
"""


def test_the_rules_of_both_generations_of_dovecot() -> None:
    assert rules_of(OLDER) == [
        ExpiryRule(folder="Trash", seconds=30 * DAY),
        ExpiryRule(folder="Old/Junk mail", seconds=7 * DAY, most=1000),
        ExpiryRule(folder="Bin/*", seconds=36 * 3600),
    ]
    assert rules_of(NEWER) == [ExpiryRule(folder="Trash", seconds=30 * DAY, most=5)]
    assert rules_of("") == rules_of("}\n{\nautoexpunge = 1d\n") == []


def test_what_they_mean_for_mail_that_is_to_come() -> None:
    rule = ExpiryRule(folder="Trash", seconds=30 * DAY, most=5)
    below = ExpiryRule(folder="Bin/%", seconds=DAY)
    tolls = Tolls([rule, below], NOW)
    dates = [int((NOW - days * DAY) * 1e9) for days in (1, 29, 31, 400)]
    assert [tolls.concern(name) for name in ("Trash", "Bin/a", "Bin/a/b", "Bin", "trash")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    tolls.add("Trash", dates, 3)
    tolls.add("Trash", dates[:1], 40)
    tolls.add("Bin/x", dates, 0)
    assert tolls.all() == (
        ExpiryToll(rule=rule, messages=5, due=2, beyond=2 + 1),
        ExpiryToll(rule=below, messages=4, due=3),
    )
