#!/bin/sh
# Inside the emulated machine only: make a tape library of iSCSI devices that tgt emulates (2 drives, 6 volumes of 8 MB
# with bar codes, a mail slot), name its drives as udev would, and run the tests that want a drive or a library.
#   usage: tape_library.sh [COMMAND...]    runs COMMAND instead of the tests
set -eu
images=/tmp/images
mkdir -p $images /etc/iscsi /run/lock/iscsi /dev/tape/by-id
modprobe -a st ch sg scsi_transport_iscsi iscsi_tcp

new() { tgtimg --op new --device-type tape --type data --thin-provisioning --barcode "$1" --size 8 --file "$images/$2" >/dev/null; }
new NONE empty
head -c 1024 /dev/zero > $images/changer
for number in 1 2 3 4 5 6; do new TAPE000$number TAPE000$number; done

target() { tgtadm --lld iscsi "$@"; }
change() { target --mode logicalunit --op update --tid 1 --lun 3 --params "$1"; }
tgtd --iscsi portal=127.0.0.1:3260
sleep 1
target --mode target --op new --tid 1 -T iqn.2000-01.test:library
for drive in 1 2; do
    target --mode logicalunit --op new --tid 1 --lun $drive --device-type=tape -b $images/empty
    target --mode logicalunit --op update --tid 1 --lun $drive --params online=0
done
target --mode logicalunit --op new --tid 1 --lun 3 --device-type=changer -b $images/changer
change media_home=$images
change element_type=4,start_address=1,quantity=2
change element_type=4,address=1,tid=1,lun=1
change element_type=4,address=2,tid=1,lun=2
change element_type=1,start_address=3,quantity=1
change element_type=2,start_address=4,quantity=6
for number in 1 2 3 4 5 6; do change element_type=2,address=$((number + 3)),barcode=TAPE000$number,sides=1; done
change element_type=3,start_address=20,quantity=1
target --mode target --op bind --tid 1 -I ALL

echo "InitiatorName=iqn.2000-01.test:here" > /etc/iscsi/initiatorname.iscsi
iscsid
sleep 1
iscsiadm -m discovery -t sendtargets -p 127.0.0.1 >/dev/null
iscsiadm -m node --login >/dev/null
seconds=0
until [ -e /dev/nst1 ] && [ -e /dev/sch0 ]; do
    sleep 1; seconds=$((seconds + 1)); [ $seconds -lt 60 ] || { echo "the library did not appear"; exit 1; }
done
for drive in 0 1; do ln -s ../../nst$drive /dev/tape/by-id/emulated-$drive-nst; done
ln -s "../../$(basename /sys/class/scsi_changer/sch0/device/scsi_generic/*)" /dev/tape/by-id/emulated-changer
mtx -f /dev/tape/by-id/emulated-changer status
[ $# = 0 ] || exec "$@"

run_tests() { .venv/bin/python -m pytest -q -n 0 -p no:cacheprovider --timeout 900 "$@"; }
status=0
mtx -f /dev/tape/by-id/emulated-changer load 6 0
MAILHAUL_TAPE_DEVICE=/dev/tape/by-id/emulated-0-nst run_tests tests/contract/test_tape_drives.py -k device || status=1
mtx -f /dev/tape/by-id/emulated-changer unload 6 0
tgtimg --op new --device-type tape --type data --thin-provisioning --barcode TAPE0006 --size 8 --file $images/TAPE0006 >/dev/null
MAILHAUL_TAPE_CHANGER=/dev/tape/by-id/emulated-changer run_tests tests/integration/test_tape_library.py || status=1
exit $status
