# Shared by the scripts beside it: sourced, never run.
#
# Every script works on a private copy of PostgreSQL's programs and a throwaway
# cluster in a temporary directory, so that neither the system's installation
# nor any of its clusters is touched, and two scripts can run side by side.

set -euo pipefail

HM_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PG_CONFIG=${PG_CONFIG:-}

say()  { printf '%s\n' "$*" >&2; }
die()  { say "$(basename "$0"): $*"; exit 1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "installing packages needs root or sudo: $*"
    fi
}

CREATECLUSTER_CONF=/etc/postgresql-common/createcluster.conf

# install_packages NAME...: installs the Debian packages that are missing.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null || die "please install: ${missing[*]}"
    say "installing ${missing[*]}"
    apt_get update
    # A cluster that the package would create belongs to the system, not to us:
    # there shall be none, but others that are installed later may have theirs.
    if [ -e "$CREATECLUSTER_CONF" ]; then
        apt_get install -y --no-install-recommends "${missing[@]}"
    else
        as_root mkdir -p "${CREATECLUSTER_CONF%/*}"
        echo 'create_main_cluster = false' | as_root tee "$CREATECLUSTER_CONF" >/dev/null
        apt_get install -y --no-install-recommends "${missing[@]}"
        as_root rm -f "$CREATECLUSTER_CONF"
        if [ -e "$CREATECLUSTER_CONF.ucf-dist" ]; then
            as_root mv "$CREATECLUSTER_CONF.ucf-dist" "$CREATECLUSTER_CONF"
        else
            as_root rmdir --ignore-fail-on-non-empty "${CREATECLUSTER_CONF%/*}"
        fi
    fi
}

# apt_get ARGUMENT...: silent, unless it fails.
apt_get() {
    local output
    if ! output=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" 2>&1 </dev/null); then
        tail -n 20 <<<"$output" >&2
        die "apt-get $1 failed"
    fi
}

# find_pg_config: sets PG_CONFIG to the newest supported server with headers.
find_pg_config() {
    local version
    [ -n "$PG_CONFIG" ] && return 0
    for version in 18 17 16 15; do
        if [ -f "$(/usr/lib/postgresql/$version/bin/pg_config --pgxs 2>/dev/null)" ] &&
           [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
            PG_CONFIG=/usr/lib/postgresql/$version/bin/pg_config
            return 0
        fi
    done
    return 1
}

# need_postgres: sets PG_CONFIG, installing the distribution's PostgreSQL if there is none.
need_postgres() {
    local version
    find_pg_config && return 0
    command -v apt-get >/dev/null || die "no PostgreSQL 15 to 18 with its development files; set PG_CONFIG to its pg_config"
    apt_get update
    # Debian 12 has 15, Debian 13 has 17: take the newest on offer that we know.
    for version in 18 17 16 15; do
        if apt-cache show "postgresql-server-dev-$version" >/dev/null 2>&1; then
            install_packages "postgresql-$version" "postgresql-server-dev-$version"
            find_pg_config && return 0
        fi
    done
    die "no package of PostgreSQL 15 to 18 is on offer; set PG_CONFIG to its pg_config"
}

# has_pgvector: does the server have the extension vector, as of 0.7 (halfvec)?
has_pgvector() {
    local version
    version=$(sed -n "s/^default_version *= *'\([0-9.]*\)'.*/\1/p" "$("$PG_CONFIG" --sharedir)/extension/vector.control" 2>/dev/null) || true
    [ -n "$version" ] && printf '0.7\n%s\n' "$version" | sort -CV
}

# offer_pgvector: installs the distribution's pgvector for the distribution's
# server, if there is a package of it.  What needs it asks has_pgvector.
offer_pgvector() {
    local major
    major=$("$PG_CONFIG" --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
    has_pgvector && return 0
    [ "$("$PG_CONFIG" --bindir)" = "/usr/lib/postgresql/$major/bin" ] || return 0
    command -v apt-cache >/dev/null || return 0
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || return 0
    if apt-cache show "postgresql-$major-pgvector" >/dev/null 2>&1; then install_packages "postgresql-$major-pgvector"; fi
}

# private_postgres DIR: copies the server's programs to DIR, so that `make
# install DESTDIR=DIR` adds the extension to the copy alone.  PostgreSQL finds
# its libraries and extensions relative to its own program file.
private_postgres() {
    local root=$1 dir
    for dir in --bindir --pkglibdir --sharedir; do
        dir=$("$PG_CONFIG" $dir)
        mkdir -p "$root$dir"
        cp -a "$dir/." "$root$dir/"
    done
    # Debian keeps a few of them as links to elsewhere; make them real.
    PRIVATE_BIN=$root$("$PG_CONFIG" --bindir)
}

# The server refuses to run as root: then everything runs as this user.
server_user() {
    if [ "$(id -u)" -ne 0 ]; then id -un
    elif id postgres >/dev/null 2>&1; then echo postgres
    else echo nobody
    fi
}

# as_server_user COMMAND...: runs it as that user, with the private programs first on PATH.
as_server_user() {
    if [ "$(id -u)" -eq 0 ]; then
        runuser -u "$(server_user)" -- env HOME="${HM_TEMP:-/tmp}" PATH="$PRIVATE_BIN:$PATH" "$@"
    else
        env PATH="$PRIVATE_BIN:$PATH" "$@"
    fi
}

# private_server SETTING...: builds the extension from a copy of this tree,
# installs it in a private copy of PostgreSQL, and starts a cluster there with
# these settings, all of it under $HM_TEMP.  The cluster listens on a Unix
# socket only; libpq's variables then lead to it.
private_server() {
    local build=$HM_TEMP/build.log data=$HM_TEMP/data setting
    say "building hnsw_mmap for $("$PG_CONFIG" --version)"
    mkdir -p "$HM_TEMP/tree" "$HM_TEMP/log" "$HM_TEMP/socket"
    tar -C "$HM_SOURCE" -cf - --exclude=.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' . | tar -C "$HM_TEMP/tree" -xf -
    private_postgres "$HM_TEMP/pg"
    # Bitcode serves nothing but JIT inlining, and takes twice the time.
    if ! { make -C "$HM_TEMP/tree" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" with_llvm=no all &&
           make -C "$HM_TEMP/tree" PG_CONFIG="$PG_CONFIG" with_llvm=no install DESTDIR="$HM_TEMP/pg"; } >"$build" 2>&1; then
        tail -n 30 "$build" >&2
        die "the extension does not build"
    fi
    chmod 755 "$HM_TEMP"
    if [ "$(id -u)" -eq 0 ]; then chown "$(server_user)" "$HM_TEMP" "$HM_TEMP/log" "$HM_TEMP/socket"; fi

    export PGHOST=$HM_TEMP/socket PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
    unset PGHOSTADDR PGSERVICE PGOPTIONS PGPASSFILE PGSSLMODE
    as_server_user initdb -A trust -U postgres --no-sync --locale=C -E UTF8 -D "$data" >"$HM_TEMP/log/initdb.log" 2>&1 ||
        { cat "$HM_TEMP/log/initdb.log" >&2; die "initdb failed"; }
    for setting in "listen_addresses=''" "unix_socket_directories='$PGHOST'" "port=$PGPORT" "$@"; do
        echo "$setting"
    done | as_server_user tee -a "$data/postgresql.conf" >/dev/null
    as_server_user pg_ctl -s -w -D "$data" -l "$HM_TEMP/log/server.log" start ||
        { tail -n 20 "$HM_TEMP/log/server.log" >&2; die "the server does not start"; }
}

stop_private_server() {
    if [ -f "$HM_TEMP/data/postmaster.pid" ]; then
        as_server_user pg_ctl -s -w -m immediate -D "$HM_TEMP/data" stop >/dev/null 2>&1 || true
    fi
}

# temporary_directory NAME: sets HM_TEMP, and removes it, its server included,
# when the script ends, however it ends.  KEEP=yes leaves both.
temporary_directory() {
    trap remove_temporary_directory EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    HM_TEMP=$(mktemp -d "${TMPDIR:-/tmp}/$1.XXXXXX")
    # The path of a Unix socket has 107 bytes.
    [ ${#HM_TEMP} -le 80 ] || die "TMPDIR has too long a path for a Unix socket in it: $HM_TEMP"
}

remove_temporary_directory() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "${HM_TEMP:-}" ] && [ "${KEEP:-no}" != yes ]; then
        stop_private_server
        rm -rf "$HM_TEMP"
    fi
    exit "$status"
}
