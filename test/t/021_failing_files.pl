# Files that fail who is in the middle of reading or writing them: an attached file
# that is truncated or taken away under a merge or a build, an index that refers to
# rows of it that are not there or not the right ones, a disk that is full under an
# export.  An ERROR that says so, nothing left behind, and all is well when the
# cause is gone.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use File::Copy;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 16;
my $rows = 6000;
# Pages are forged: the server's own checksums, where it has them, would tell.
my $node = new_injection_node('failing', <<CONF);
hnsw_mmap.background_merge = off
ignore_checksum_failure = on
max_parallel_maintenance_workers = 2
CONF
my $dir = $node->basedir . '/vectors';
mkdir $dir or die "$dir: $!";

my $header = "{'descr': '<f4', 'fortran_order': False, 'shape': ($rows, $dim), }";
$header .= ' ' x (63 - (10 + length $header) % 64) . "\n";
my @vectors = map { [ map { choose(2001) / 1000 - 1 } 1 .. $dim ] } 1 .. $rows;
# The last row is none that can be ranked; the table does not refer to it.
$vectors[-1] = [ ('nan') x $dim ];
my $body = join '', map { pack('f<*', @$_) } @vectors;
my $whole = "\x93NUMPY\x01\x00" . pack('v', length $header) . $header . $body;
my $file = "$dir/a.npy";

# The file as it was, in the same place: what is mapped is it again.
sub restore_file
{
	rename "$file.away", $file if -e "$file.away";
	open(my $fh, -e $file ? '+<' : '>', $file) or die "$file: $!";
	binmode $fh;
	print $fh $whole;
	close $fh or die "$file: $!";
}

# Two pages are left of it.
sub truncate_file { truncate $file, 8192 or die "$file: $!"; }

sub take_file_away { rename $file, "$file.away" or die "$file: $!"; }

restore_file();
$node->safe_psql('postgres', <<SQL);
SELECT hnsw_mmap_attach('a', '$file');
CREATE TABLE items (id int PRIMARY KEY, v extvec);
INSERT INTO items SELECT i, hnsw_mmap_extvec('a', i) FROM generate_series(0, 999) AS i;
CREATE INDEX items_v ON items USING hnsw_mmap (v);
SQL

my $next = 1000;

sub insert_rows
{
	my ($n) = @_;
	my $first = $next;

	$next += $n;
	$node->safe_psql('postgres', "INSERT INTO items SELECT i, hnsw_mmap_extvec('a', i) FROM generate_series($first, $next - 1) AS i");
}

# Relation files of the database that hold anything, to see that none is left over.
sub database_files
{
	my $directory = $node->data_dir . '/base/' . $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = 'postgres'");
	$node->safe_psql('postgres', 'CHECKPOINT');
	return join ' ', sort grep { -s $_ } glob "$directory/[0-9]*[0-9]";
}

my $truncated = qr/ERROR:  58030: could not read the file of server "a"\n.*DETAIL:  It was truncated while it was in use, or its disk failed\./s;
my $missing = qr/ERROR:  58P01: could not open file ".*" of server "a": No such file or directory/;
my $shorter = qr/ERROR:  55000: file ".*" of server "a" is shorter than it was when attached/;
my $size = "SELECT blocks_total, log_entries FROM hnsw_mmap_check('items_v')";
my $near = "SET enable_seqscan = off; SET enable_sort = off; SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> hm_test.vec(0, $dim) LIMIT 10) AS s";

# ---- in the middle of a merge ----

# The log's length decides how rows are inserted: 4,000 and more go the way of a
# build, by several processes if the table wants that.
foreach my $case ([ 'one by one', 100, 0, 'false' ], [ 'one by one, all parts', 100, 0, 'true' ],
	[ 'as in a build', 4000, 0, 'true' ])
{
	my ($how, $n, $workers, $full) = @$case;
	my $merge = "SELECT inserted FROM hnsw_mmap_merge('items_v', $full);";

	$node->safe_psql('postgres', "ALTER TABLE items SET (parallel_workers = $workers)");

	# truncated
	insert_rows($n);
	inject($node, 'merge-read', 'pause');
	my $run = background($node, $merge);
	ok(wait_paused($node, 'merge-read'), "merge $how: it is under way");
	truncate_file();
	release_point($node, 'merge-read');
	ok(!finish_background($run), "merge $how, file truncated: it fails");
	like($run->{err}, $truncated, "merge $how, file truncated: and says why");
	is(join(' ', scratch_files($node)), '', "merge $how, file truncated: no scratch file is left");
	my $state = $node->safe_psql('postgres', $size);
	like((run_sql($node, $merge))[2], $shorter, "merge $how: nor does the next one while it is truncated") foreach 1 .. 3;
	restore_file();
	is(verdict($node, 'items', $dim), 'sound', "merge $how, file truncated: sound when the file is back");
	is($node->safe_psql('postgres', $size), $state, "merge $how, file truncated: the index has not grown by that");
	like($state, qr/\|$n$/, "merge $how, file truncated: the log is whole");
	is($node->safe_psql('postgres', $merge), $n, "merge $how: the next one has them all");
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "merge $how: sound after that");

	# Taken away: what is mapped is still there.
	next if $n > 100;
	insert_rows($n);
	inject($node, 'merge-read', 'pause');
	$run = background($node, $merge);
	ok(wait_paused($node, 'merge-read'), "merge $how: it is under way");
	take_file_away();
	release_point($node, 'merge-read');
	ok(finish_background($run), "merge $how, file taken away: it ends well") or diag($run->{err});
	is($run->{out}, "$n\n", "merge $how, file taken away: all are merged");
	like((run_sql($node, $near))[2], $missing, 'a query while the file is away');
	like((run_sql($node, $merge))[2], $missing, 'a merge while the file is away');
	restore_file();
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "merge $how, file taken away: sound when it is back");
}
$node->safe_psql('postgres', 'ALTER TABLE items RESET (parallel_workers)');

# ---- in the middle of a build ----

# The condition of an index is asked of each row: there the build can be stopped.
$node->safe_psql('postgres', <<SQL);
CREATE FUNCTION wait_at(id int, here int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS \$\$
BEGIN
    IF id = here THEN
        PERFORM pg_advisory_lock(1);
        PERFORM pg_advisory_unlock(1);
    END IF;
    RETURN true;
END
\$\$;
CREATE FUNCTION fail_at(id int, here int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT 1 / (id - here) IS NOT NULL';
SQL
my $files = database_files();

sub nothing_left
{
	my ($what) = @_;

	is(join(' ', scratch_files($node)), '', "$what: no scratch file is left");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname = 'again'"), '0', "$what: no index is left");
	is(database_files(), $files, "$what: no relation file is left");
}

foreach my $case ([ 'truncated', \&truncate_file ], [ 'taken away', \&take_file_away ])
{
	my ($what, $damage) = @$case;
	my $create = 'CREATE INDEX again ON items USING hnsw_mmap (v)';

	# while the table is read
	my ($in, $out, $err) = ("SELECT pg_advisory_lock(1);\n\\echo held\n", '', '');
	my $holder = IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$holder->pump until $out =~ /held/;
	my $run = background($node, "$create WHERE wait_at(id, 500);");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
	  or die 'the build does not wait';
	$damage->();
	$in = "\\q\n";
	$holder->finish;
	my $built = finish_background($run);
	if ($what eq 'truncated')
	{
		ok(!$built, "$what in a build: it fails");
		like($run->{err}, $truncated, "$what in a build: and says why");
		nothing_left("$what in a build");
		like((run_sql($node, $create))[2], $shorter, "$what: nor can it be built now");
	}
	else
	{
		ok($built, "$what in a build: it ends well") or diag($run->{err});
		$node->safe_psql('postgres', 'DROP INDEX again');
		like((run_sql($node, $create))[2], $missing, "$what: it cannot be built now");
	}
	nothing_left("$what, then built");
	restore_file();

	# When the table has been read, the file is no longer needed.
	inject($node, 'build-scanned', 'pause');
	$run = background($node, "$create;");
	ok(wait_paused($node, 'build-scanned'), "$what after the scan: it is there");
	$damage->();
	release_point($node, 'build-scanned');
	ok(finish_background($run), "$what after the scan: it ends well") or diag($run->{err});
	like((run_sql($node, $near))[2], $what eq 'truncated' ? $shorter : $missing, "$what after the scan: a query tells");
	restore_file();
	is($node->safe_psql('postgres', "SELECT table_rows FROM hnsw_mmap_check('again', true)"), $next, "$what after the scan: sound when the file is back");
	$node->safe_psql('postgres', 'DROP INDEX again');
	nothing_left("$what after the scan");
	is(verdict($node, 'items', $dim), 'sound', "$what: the other index is sound");
}

# A build has the kernel read ahead; after it, however it ended, rows are read at
# random again.
sub advice
{
	my ($statement) = @_;
	my ($out, $err);

	$node->psql('postgres', "$statement;\nSELECT pg_read_file('/proc/' || pg_backend_pid() || '/smaps');",
		stdout => \$out, stderr => \$err, on_error_stop => 0);
	note($err);
	my ($mapping) = grep { /^\S+ .*\Q$file\E$/m } split /^(?=[0-9a-f]+-[0-9a-f]+ )/m, $out // '';
	return 'not mapped' unless $mapping;
	return 'unknown' unless $mapping =~ /^VmFlags:(.*)$/m;
	return $1 =~ /\bsr\b/ ? 'in order' : $1 =~ /\brr\b/ ? 'at random' : 'as usual';
}
SKIP:
{
	my $before = advice(q{SELECT 'a:0'::extvec <-> 'a:1'});

	skip 'the kernel does not tell', 3 if $before eq 'unknown';
	is($before, 'at random', 'a file that is used');
	is(advice('BEGIN; CREATE INDEX again ON items USING hnsw_mmap (v) WITH (m = 4, ef_construction = 16); ROLLBACK'), 'at random', 'after a build');
	is(advice('CREATE INDEX again ON items USING hnsw_mmap (v) WHERE fail_at(id, 500)'), 'at random', 'after a build that failed');
}

# ---- a disk that is full ----

# A small file system that this user may mount, in a namespace of its own: others
# reach it by the process that keeps it.  Nothing where the system allows no such.
sub small_disk
{
	my $at = $node->basedir . '/small';
	my ($in, $out, $err) = ('', '', '');
	my $keeper = eval { IPC::Run::start(
		[ 'unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', "mount -t tmpfs -o size=128k none '$at' && echo \$\$ && read line" ],
		'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default)) } or return;

	mkdir $at;
	eval { $keeper->pump until $out =~ /^(\d+)\n/; };
	note($err) if $err ne '';
	return $out =~ /^(\d+)\n/ ? ("/proc/$1/root$at", sub { $in = "\n"; $keeper->finish; }) : ();
}
SKIP:
{
	mkdir $node->basedir . '/small';
	my ($disk, $unmount) = small_disk();

	skip 'no file system can be mounted', 11 unless $disk;
	$node->safe_psql('postgres', 'CREATE TABLE few AS SELECT * FROM items WHERE id < 100; ALTER TABLE few ADD PRIMARY KEY (id)');
	foreach my $export ("hnsw_mmap_export_vectors('items', 'v', '%s')", "hnsw_mmap_export_graph('items_v', '%s')",
		"hnsw_mmap_export_graph('items_v', '%s', format => 'hnswlib')")
	{
		my ($name) = $export =~ /(\w+\(.*?), '%s'/;
		my ($out, $err);

		# In one session: what was written is given back at once, and it goes on.
		$node->psql('postgres', sprintf("SELECT 'written' FROM $export; SELECT rows FROM hnsw_mmap_export_vectors('few', 'v', '%s');",
				"$disk/large", "$disk/few"),
			stdout => \$out, stderr => \$err, on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		like($err, qr{^\S+ ERROR:  53100: could not write file "$disk/large": No space left on device$}m, "$export: says that the disk is full");
		is($out, '100', "$export: then there is room again");
		is(join(' ', glob "$disk/*"), "$disk/few", "$export: no file is left");
		unlink "$disk/few";
	}
	# Full when it is created already: not even the header fits.
	open(my $fh, '>', "$disk/filler") or die $!;
	print $fh 'x' x (1024 * 1024);
	close $fh;
	like((run_sql($node, "SELECT hnsw_mmap_export_vectors('few', 'v', '$disk/few')"))[2], qr/ERROR:  53100: could not write file/, 'a disk that was full before');
	is(join(' ', glob "$disk/*"), "$disk/filler", 'no file is left there');
	$unmount->();
}

# ---- rows of the index that are not in the file, or not the right ones ----

# Parts: one that a build wrote, one that a merge did.  Rows 10 .. 19 are dead.
$node->safe_psql('postgres', 'REINDEX INDEX items_v; DELETE FROM items WHERE id BETWEEN 10 AND 19; VACUUM items');
insert_rows(100);
$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('items_v')");
is($node->safe_psql('postgres', "SELECT parts FROM hnsw_mmap_stats('items_v')"), '2', 'an index of two parts');
my $path = index_path($node, 'items_v');
$node->stop;
copy($path, "$path.good") or die $!;

# Pages of the array of rows: kind 2, array 5 (src/storage/format.h).
my @pages = grep {
	my $page = read_block("$path.good", $_);
	unpack('L', substr($page, 24, 4)) == 0x4D4D4E48 && unpack('S', substr($page, 30, 2)) == 2 && unpack('S', substr($page, 44, 2)) == 5
} 0 .. block_count("$path.good") - 1;
# The first one of each part.
my %block_of_part = map { unpack('L', substr(read_block("$path.good", $_), 40, 4)) => $_ } reverse @pages;
is(scalar keys %block_of_part, 2, 'each part has rows');

sub entries { my ($page) = @_; return unpack('Q*', substr($page, 64)); }

# What says so of a damaged page, and of a row that the file does not have.
sub damaged { my ($block) = @_; return qr/ERROR:  XX002: index "items_v" is corrupted at block $block\n/; }

my $no_row = qr/ERROR:  55000: index "items_v" refers to row \d+ of file "a", which has $rows rows/;

# forge(WHAT, BLOCK, CHANGE, CHECK): lets CHANGE have the entries of a page, under a
# right CRC.  CHECK is what hnsw_mmap_check says when it looks at all rows; without
# it, the CRC is left as it was, and everybody finds the page damaged.
sub forge
{
	my ($what, $block, $change, $check) = @_;
	my $log_size = -s $node->logfile;
	my $page = read_block("$path.good", $block);
	my @entries = entries($page);

	$change->(\@entries);
	substr($page, 64) = pack('Q*', @entries);
	write_block($path, $block, $check ? seal_page($page) : $page);
	$node->start;

	# 20 queries, and all rows.
	my ($rc, $out, $err) = run_sql($node, "SET hnsw_mmap.ef_search = 400; SELECT hm_test.mismatches('items', 'v', '<->', $dim)");
	my $complete = complete($node, 'items', $dim);
	my $problem = $check ? $no_row : damaged($block);

	if ($rc == 0) { cmp_ok($out, '<=', 3, "$what: a row is missed at most where the index has another's vector for it"); }
	else { like($err, $problem, "$what: a query fails and says why"); }
	like($complete, qr/^t$|$problem/, "$what: all rows, or an error that says why");

	is((run_sql($node, "SELECT hnsw_mmap_check('items_v')"))[0], 0, "$what: a well-formed index") if $check;
	like((run_sql($node, "SELECT hnsw_mmap_check('items_v')"))[2], $problem, "$what: hnsw_mmap_check finds the page") unless $check;
	like((run_sql($node, "SELECT hnsw_mmap_check('items_v', true)"))[2], $check // $problem, "$what: hnsw_mmap_check looks at all rows");

	# What a merge does not look at it takes over.
	($rc, $out, $err) = run_sql($node, "SELECT hnsw_mmap_merge('items_v', true)");
	like($err, $rc == 0 && $check ? qr/^$/ : $problem, "$what: a merge takes it over, or says why not");
	is($node->safe_psql('postgres', "SELECT 'a:7'::extvec <-> 'a:7'"), '0', "$what: the server is up");
	$node->stop;
	unlike(substr(slurp_file($node->logfile), $log_size), qr/was terminated by signal|TRAP:|PANIC:/, "$what: no process died");
	copy("$path.good", $path) or die $!;
}

foreach my $part (sort keys %block_of_part)
{
	my $block = $block_of_part{$part};
	my $beyond = qr/ERROR:  XX002: index "items_v" (?:is corrupted at block $block\nDETAIL:  Element \d+ is row \d+ of the file|does not fit row .*\nDETAIL: .* refers to row \d+ of the file, which has $rows\b)/;
	my $other = qr/ERROR:  XX002: index "items_v" does not fit row .*\nDETAIL: .* refers to a row of the file with another vector/;

	forge("part $part, one bit", $block, sub { $_[0][3] ^= 1 });
	forge("part $part, random bytes", $block, sub { $_ = choose(2**31) foreach @{ $_[0] } });
	forge("part $part, the row behind the last", $block, sub { $_[0][2] = $rows }, $beyond);
	forge("part $part, rows far away", $block, sub { $_ = 2**63 + choose(2**31) foreach @{ $_[0] } }, $beyond);
	forge("part $part, all ones", $block, sub { $_ = ~0 foreach @{ $_[0] } }, $beyond);
	forge("part $part, a row that cannot be ranked", $block, sub { $_[0][4] = $rows - 1 }, $other);
	forge("part $part, two exchanged", $block, sub { @{ $_[0] }[ 1, 5 ] = @{ $_[0] }[ 5, 1 ] }, $other);
}

# An element that no row has any more is walked through like others.
my ($block, $number);
foreach my $candidate (@pages)
{
	my @entries = entries(read_block("$path.good", $candidate));
	($number) = grep { $entries[$_] == 15 } 0 .. $#entries;
	$block = $candidate;
	last if defined $number;
}
forge('a dead element, the row behind the last', $block, sub { $_[0][$number] = $rows }, damaged($block));

$node->start;
is(verdict($node, 'items', $dim), 'sound', 'the good index is sound');
$node->stop;
done_testing();
