"""What programs do, as the table and the handlers see it."""

from __future__ import annotations

import pytest

READS = """
ls -la /etc; cat a b | grep -v x | sort -u | uniq -c
head -n 20 f; tail -f /var/log/syslog; wc -l < f; stat /etc/passwd; du -sh /var; df -h
find . -name '*.py' -newer x -print; sed -n '1,5p' f; sed 's/a/b/g; /x/d' f; awk -F: '{print $1 "|" $2}' /etc/passwd
awk '/a|b/ { n += $1 / 2 } END { if (n >= 3) { x = n } }' f
git status; git log --oneline -5; git diff HEAD~1; git show HEAD:f; git branch -a
git stash list; git config --get user.name
tar -tzf a.tgz; tar tf a.tar; unzip -l a.zip; gzip -l a.gz; zcat a.gz
systemctl status nginx; journalctl -u nginx -n 100 --no-pager; service nginx status; crontab -l
docker ps -a; docker logs web; docker inspect web; docker compose ps; ip addr show; ip -br a; ss -tlnp; ps aux
dpkg -l; apt list --installed; rpm -qa; date +%F; uname -a; hostname; id; env; sysctl kernel.hostname; dmesg
echo "rm -rf /"; printf '%s\\n' 'rm -rf /'; true && false || :; [ -f x ] && test -d y
cat > /dev/null < f; ls 2>/dev/null >&2; diff <(ls a) <(ls b)
for f in a b; do cat "$f"; done; while read -r line; do echo "$line"; done < f; case x in a) ls;; esac
sudo_not_here=1; X=/a; echo $X; export FOO=bar; command -v rm; type rm; which rm
openssl x509 -in c.pem -noout -dates; visudo -c; nginx -t; rsync -n -a a/ b/; fuser /tmp/x; kill -l; mount
"""


@pytest.mark.parametrize("line", READS.strip().splitlines())
def test_reading_changes_nothing(seen, line):
    assert seen(line) == set()


CHANGES = {
    # files
    "rm -rf /logs": {"delete /logs/**"},
    "rm a ../b": {"delete /jobs/a", "delete /jobs/../b"},
    "rm -r -- -x": {"delete /jobs/-x/**"},
    "rm -rf /tmp/*": {"delete /tmp/**~"},
    "rm -rf ~/x $HOME/y": {"delete /home/agent/x/**", "delete /home/agent/y/**"},
    "rm {a,b/{c,d}} x{1..3}": {f"delete /jobs/{n}" for n in ("a", "b/c", "b/d", "x1", "x2", "x3")},
    "rmdir d; unlink l; shred -u s": {"delete /jobs/d", "delete /jobs/l", "delete /jobs/s"},
    "cp -r a /b": {"write /b/**"},
    "cp a b c/": {"write /jobs/c~"},
    "cp -t /d a b": {"write /d/**~"},
    "cp --target-directory=/d a": {"write /d/**~"},
    "cp --target=/d a": {"write /d/**~"},
    "mv a /c": {"delete /jobs/a/**", "write /c"},
    "ln -s a b; mkdir -p x/y; touch z": {"write /jobs/b", "write /jobs/x/y", "write /jobs/z"},
    "chmod -R 777 /srv; chown root f": {"write /srv/**", "write /jobs/f"},
    "tee a < b; truncate -s 0 c": {"write /jobs/a", "write /jobs/c"},
    "install -m 755 a /usr/local/bin/a": {"write /usr/local/bin/a"},
    "echo x > a; echo y >> /b; : >| c; ls &> d": {
        *(f"write /jobs/{n}" for n in "acd"),
        "write /b",
    },
    "dd if=/dev/zero of=/dev/sda": {"write /dev/sda"},
    # programs that read, with an option or an operand that writes
    "sort -o out in": {"write /jobs/out"},
    "sort -ro out in": {"write /jobs/out"},
    "sort --outp=out in": {"write /jobs/out"},
    "uniq in out": {"write /jobs/out"},
    "find . -name '*.pyc' -delete": {"delete /jobs/**~"},
    "find /tmp -exec rm -rf {} +": {"delete /tmp/**~"},
    "find /tmp -name x -fprint /out": {"write /out"},
    "find /a /b -execdir rm {} ';'": {"delete /a/**~", "delete /b/**~"},
    "fd x /tmp -x rm": {"delete /tmp/**~"},
    "sed -i 's/a/b/' f": {"write /jobs/f"},
    "sed -ni.bak p f": {"write /jobs/f"},
    "sed --in-place=.bak p f": {"write /jobs/f"},
    "sed 's/a/b/w /out' f": {"write /out"},
    "sed -n '/x/w out' f": {"write /jobs/out"},
    "tar -xzf a.tgz -C /opt": {"write /opt/**~"},
    "tar xzf a.tgz": {"write /jobs/**~"},
    "tar -czf b.tgz src": {"write /jobs/b.tgz"},
    "tar czf b.tgz --remove-files src": {"write /jobs/b.tgz", "delete /jobs/src/**"},
    "gzip a; gunzip b.gz; gzip -c c": {"delete /jobs/a", "write /jobs/a.gz", "delete /jobs/b.gz", "write /jobs/b"},
    "unzip a.zip -d /x": {"write /x/**~"},
    "split -b 1M f p": {"write /jobs~"},
    "date -s 10:00": {"system date: -s"},
    "dmesg -c": {"system dmesg: -c"},
    "hostname new": {"system hostname: new"},
    "sysctl -w a=1": {"system sysctl: -w a=1", "system sysctl: -w"},
    "yq -i .a f": {"OPAQUE"},
    "/usr/bin/time -o t ls": {"write /jobs/t"},
    "patch -p1 < x": {"write /jobs/**~"},
    # services, packages, users, disks, processes
    "systemctl restart nginx.service php": {"service restart nginx", "service restart php"},
    "systemctl daemon-reload": {"system systemctl: daemon-reload"},
    "service nginx restart": {"service restart nginx"},
    "apt-get install -y vim": {"network ?", "system apt-get: install vim"},
    "useradd bob": {"system useradd: bob"},
    "kill -9 42": {"system kill: 42"},
    "pkill nginx": {"system pkill: nginx"},
    "mount /dev/sdb1 /mnt": {"system mount: /dev/sdb1 /mnt"},
    "mkfs.ext4 /dev/sdb": {"write /dev/sdb", "system mkfs.ext4: /dev/sdb"},
    "crontab -r": {"system crontab: -r"},
    "ip link set eth0 down": {"system ip: link set eth0 down"},
    "iptables -F": {"system iptables: -F"},
    "shutdown -h now": {"system shutdown: now"},
    # containers, databases, clouds
    "docker rm -f web": {"system docker: rm web"},
    "kubectl get pods": {"network ?"},
    "kubectl delete pod x": {"network ?", "system kubectl: delete pod x"},
    "psql -c 'drop table x'": {"system psql: drop table x"},
    "aws s3 ls": {"network ?"},
    "aws ec2 terminate-instances": {"network ?", "system aws: ec2 terminate-instances"},
    # network
    "curl https://x/y": {"network https://x/y"},
    "curl -o /tmp/f https://x": {"network https://x", "write /tmp/f"},
    "curl -sSLO https://x/f": {"network https://x/f", "write /jobs~"},
    "curl -X DELETE https://x": {"network https://x", "system curl: DELETE https://x"},
    "curl -d @f https://x": {"network https://x", "system curl: POST https://x"},
    "curl -T f https://x": {"network https://x", "system curl: PUT https://x"},
    "wget https://x/f": {"network https://x/f", "write /jobs~"},
    "wget -qO- https://x": {"network https://x"},
    "wget -P /d https://x": {"network https://x", "write /d~", "write /d"},
    "rsync -a a/ /b/": {"write /b/**~"},
    "rsync -a --delete a/ /b/": {"write /b/**~", "delete /b/**~"},
    "rsync -a a h:/b": {"network h:/b", "system rsync: writes h:/b"},
    "scp f h:/x": {"network h:/x", "system scp: writes h:/x"},
    "ping -c 1 h": {"network h"},
    "echo x > /dev/tcp/h/80": {"network /dev/tcp/h/80"},
    # git
    "git add . && git commit -m x": {"write /jobs/.git/**", "OPAQUE"},
    "git -C /r reset --hard": {"write /r/**~", "system git: reset --hard"},
    "git clean -fdx": {"write /jobs/**~", "delete /jobs/**~", "system git: clean -fdx"},
    "git rm -r d": {"write /jobs/**~", "delete /jobs/d/**", "system git: rm -r d"},
    "git push --forc origin main": {"network ?", "system git: push --forc origin main", "OPAQUE"},
    "git clone https://h/r.git": {"network https://h/r.git", "write /jobs/r/**", "OPAQUE"},
    "git checkout -qbfeature": {"write /jobs/**~", "OPAQUE"},
    "git -c core.hooksPath=/dev/null checkout main -- f": {"write /jobs/**~", "system git: checkout main -- f"},
}


@pytest.mark.parametrize("command", CHANGES)
def test_what_a_command_changes_is_seen(seen, command):
    assert seen(command) == CHANGES[command]


OPAQUE = """
sort --compress-program=./x f
sort --comp ./x f
sort "$f"
tar --to-command=sh -xf a.tar
tar --checkpoint=1 --checkpoint-action=exec=sh -cf a b
tar -I ./x -xf a
git -c core.pager=./x log
git -c alias.st='!rm' st
git fetch --upload-pack ./x
git unknown-alias
git --git-dir=/x status
git diff --ext-diff
git grep -O./x y
less --lesskey-file=x f
man -P ./x ls
split --filter=./x f
sed e f
sed 's/a/b/e' f
sed '1e rm x' f
sed -f script f
sed "$script" f
awk 'BEGIN { system("rm x") }'
awk '{ print > "out" }' f
awk '{ print | "sh" }' f
awk '{ "rm x" | getline }' f
awk '/"/ { print | "sh" } /"/' f
awk '{ x = $1 / 2 ; print | "sh" / 3 }' f
awk -f prog f
awk -i inplace '{ print }' f
curl -K conf
wget -e use_proxy=on h
rsync -e ./x a h:b
rsync --rsync-path=./x a h:b
ssh h rm -rf /
scp -S ./x a h:b
vim f
python3 -c 'print(1)'
perl -e 1
node x.js
make all
npm install
docker exec web rm -rf /
docker run x
kubectl exec p -- rm -rf /
kubectl --kubeconfig=./x get pods
systemctl edit x
chroot /x rm -rf /
systemd-run rm -rf /
at now < f
iptables --modprobe=./x -L
ip netns exec a rm -rf /
nmap --script=./x h
find . "$x"
find "$d" -delete
rm "$x"
rm -rf $(cat list)
cp "$x" /y
echo x > "$f"
rm -rf ~other/x
rm -rf /tmp/*/../../etc
dd "$x"
cat list | xargs rm
env -S 'rm -rf /x'
"""


@pytest.mark.parametrize("command", OPAQUE.strip().splitlines())
def test_what_cannot_be_seen_through_is_opaque(seen, command):
    assert "OPAQUE" in seen(command)


def test_a_program_without_an_entry_is_unknown_and_by_its_path(analyse):
    assert analyse("frobnicate --all; ./x.sh; /opt/tool/bin/ls").unknown_programs == (
        "frobnicate",
        "/jobs/x.sh",
        "/opt/tool/bin/ls",
    )


def test_a_dynamic_word_that_is_only_read_is_no_obstacle(analyse):
    effects = analyse('cat "$x"')
    assert not effects.opaque
    assert [(e.target, e.exact) for e in effects.inferred] == [("/", False)]


def test_what_is_read_is_listed_with_absolute_paths(analyse):
    read = [
        e.target for e in analyse("cat ../etc/passwd ./a//b; grep -r x /var/log; cp s d").inferred if e.kind == "read"
    ]
    assert read == ["/jobs/../etc/passwd", "/jobs/a/b", "/var/log", "/jobs/s"]
