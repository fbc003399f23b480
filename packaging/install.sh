#!/bin/sh
# install.sh BINARY DESTDIR PREFIX SYSCONFDIR UNITDIR: copies the daemon and all that belongs to it. The
# user fireworq, whom the units need, is left to whoever installs.
set -eu
binary=$1 root=$2 prefix=$3 etc=$4 units=$5
cd "$(dirname "$0")/.."

# put MODE FILE TARGET
put() {
	install -D -m "$1" "$2" "$root$3"
	echo "$root$3"
}
put 755 "$binary" "$prefix/bin/fireworq"
put 644 packaging/man/fireworq.8 "$prefix/share/man/man8/fireworq.8"
put 644 packaging/completion/bash/fireworq "$prefix/share/bash-completion/completions/fireworq"
put 644 packaging/completion/zsh/_fireworq "$prefix/share/zsh/site-functions/_fireworq"
put 644 packaging/completion/fish/fireworq.fish "$prefix/share/fish/vendor_completions.d/fireworq.fish"
put 644 packaging/logrotate/fireworq "$etc/logrotate.d/fireworq"
if [ -e "$root$etc/default/fireworq" ]; then
	echo "$root$etc/default/fireworq is there already, and stays as it is"
else
	put 644 packaging/default/fireworq "$etc/default/fireworq"
fi
for unit in fireworq.service fireworq.socket fireworq@.service; do
	put 644 "systemd/$unit" "$units/$unit"
	sed -i -e "s,^ExecStart=/usr/bin/,ExecStart=$prefix/bin/," -e "s,/etc/default/,$etc/default/," "$root$units/$unit"
done
