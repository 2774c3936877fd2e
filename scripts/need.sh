# Sourced by the other scripts: looks for programs and installs the Debian packages
# they are in, where it may; else it says what to type.

# need PROGRAM PACKAGE [PROGRAM PACKAGE ...]
need() {
	missing=
	while [ $# -gt 1 ]; do
		if ! PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" >/dev/null; then
			missing="$missing $2"
		fi
		shift 2
	done
	install_packages $missing
}

# need_files FILE PACKAGE ...: the same for what is no program.
need_files() {
	missing=
	while [ $# -gt 1 ]; do
		[ -e "$1" ] || missing="$missing $2"
		shift 2
	done
	install_packages $missing
}

install_packages() {
	[ $# -gt 0 ] || return 0
	if ! command -v apt-get >/dev/null; then
		echo "Missing, please install what your system calls: $*" >&2
		exit 1
	fi
	if [ "$(id -u)" = 0 ]; then
		sudo=
	elif sudo -n true 2>/dev/null; then
		sudo="sudo -n"
	else
		echo "Missing packages. Please run:  sudo apt-get install -y $*" >&2
		exit 1
	fi
	echo "Installing $*"
	log=$(mktemp)
	if ! { $sudo apt-get update && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
		cat "$log" >&2
		rm -f "$log"
		echo "apt-get could not install $*" >&2
		exit 1
	fi
	rm -f "$log"
}

# need_go: the Go release that go.mod names, or a newer one (go fetches none by itself here).
need_go() {
	[ -x /usr/local/go/bin/go ] && PATH="$PATH:/usr/local/go/bin"
	if ! command -v go >/dev/null; then
		echo "Go is missing. Install Go 1.26 or newer and put it into PATH." >&2
		exit 1
	fi
	want=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' go.mod)
	have=$(go env GOVERSION | sed 's/^go\([0-9]*\.[0-9]*\).*/\1/')
	if [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" != "$want" ]; then
		echo "This needs Go $want or newer; $(command -v go) is $have." >&2
		exit 1
	fi
}
