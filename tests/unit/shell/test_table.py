"""The table of programs: what it covers, and that a mistake in it is found when it is loaded."""

from __future__ import annotations

import tomllib

import pytest

from interlock_policies.shell import table as tables
from interlock_policies.shell.analyse import handlers

# Ours: invocations as operators and agents write them, one or more for each program.
REALISTIC = (
    """
ls -la|cat f|head -5 f|tail -f f|wc -l f|stat f|file f|du -sh .|df -h|tree -L 2|realpath f|readlink -f f
basename a|dirname a|cp a b|mv a b|rm f|rmdir d|mkdir -p d|touch f|ln -s a b|chmod 644 f|chown a:b f|chgrp g f
install a b|truncate -s 0 f|tee f|mktemp|shred f|unlink f|split f|csplit f 1|dd if=a of=b|sync|sha256sum f
md5sum f|cksum f|base64 f|xxd f|od -c f|hexdump f|grep x f|egrep x f|fgrep x f|rg x|ag x|sed -n p f
awk '{print}' f|cut -d: -f1 f|sort f|uniq f|tr a b|paste a b|join a b|comm a b|diff a b|cmp a b|patch -p1|nl f
tac f|rev f|fold f|fmt f|column -t f|expand f|jq . f|yq . f|xargs ls|find . -name x|fd x|locate x|less f|more f
man ls|which ls|whereis ls|type ls|command -v ls|echo x|printf x|true|false|test -f x|[ -f x ]|expr 1 + 1|seq 3
sleep 1|date|cal|uname -a|hostname|uptime|whoami|id|groups|who|w|last|users|tty|env|printenv|nproc|arch|locale
getconf ARG_MAX|ps aux|pgrep x|pidof x|pstree|top -bn1|htop|kill 1|pkill x|killall x|nice ls|renice 5 1|nohup ls
timeout 5 ls|watch ls|time ls|free -m|vmstat|iostat|mpstat|pidstat|sar|lsof|fuser f|strace ls|dmesg|lscpu|lsblk
lspci|lsusb|lsmod|modprobe x|sysctl -a|ulimit -a|systemctl status x|service x status|journalctl -u x|crontab -l
at now|timedatectl|hostnamectl|loginctl|shutdown now|reboot|supervisorctl status|pm2 list|nginx -t
apachectl configtest|haproxy -c -f x|sshd -t|logger x|logrotate -d x|apt update|apt-get install x
apt-cache show x|dpkg -l|rpm -qa|yum list|dnf list|zypper se x|pacman -Q|apk info|snap list|brew list|useradd x
usermod x|userdel x|groupadd x|passwd x|chage -l x|su -c ls|sudo ls|doas ls|visudo -c|getent passwd|mount
umount /x|fdisk -l|parted -l|mkfs.ext4 x|fsck x|blkid|findmnt|swapon -s|lvs|vgs|pvs|lvcreate x|mdadm --detail x
zfs list|ip a|ifconfig|route -n|ss -tlnp|netstat -an|ping h|traceroute h|mtr h|dig h|nslookup h|host h|whois h
arp -n|ethtool eth0|iptables -L|nft list ruleset|ufw status|firewall-cmd --state|tcpdump -i x|nmap h|nc -z h 1
telnet h|curl h|wget h|ssh h|scp a h:b|sftp h|rsync a b|ssh-keygen -l|ssh-keyscan h|ssh-add -l|openssl version
gpg --list-keys|certbot certificates|tar tf f|gzip f|gunzip f|bzip2 f|xz f|zstd f|zip a b|unzip f|7z l f|zcat f
cpio -i|git status|gh pr list|svn log|hg status|make|cmake .|gcc x|go build|cargo build|npm ls|yarn|pnpm i
pip list|python3 x|node x|perl x|ruby x|php x|java x|docker ps|docker-compose ps|podman ps|kubectl get po
helm list|terraform plan|ansible x|vagrant status|psql|mysql|sqlite3 x|redis-cli|mongosh|pg_dump x|mysqldump x
mysqladmin status|aws s3 ls|gcloud info|az vm list|vault status|consul members|etcdctl get x|rabbitmqctl status
vim f|nano f|bash x|sh x|zsh x|eval ls|exec ls|source x|cd x|pwd|export A|set -e
""".strip()
    .replace("\n", "|")
    .split("|")
)


def test_at_least_186_realistic_programs_are_known(analyse):
    assert len({line.split()[0] for line in REALISTIC}) >= 186
    assert {program for line in REALISTIC for program in analyse(line).unknown_programs} == set()


def test_the_packaged_table_loads_and_every_handler_exists():
    table = tables.load_table()
    assert len(table) > 250
    assert {program.handler for program in table.values()} - {""} == set(handlers())


@pytest.mark.parametrize(
    "text",
    [
        '[x]\nwrites = "-o"',
        '["x x"]',
        '[x]\nsub = ["read list"]',
        '[x]\nsub = ["read: a, "]',
        '[x]\nsub = [": a"]',
        '[x]\nsub = ["reed: a"]',
        '[x]\nalways = "boom"',
        '[x]\noperands = "wrote*"',
    ],
)
def test_a_mistake_in_the_table_is_found_when_it_is_loaded(text):
    with pytest.raises(tables.TableFault):
        tables.add_programs({}, tomllib.loads(text))
